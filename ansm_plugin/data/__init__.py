"""Photographs, masks and forgeries: read, paired, cut, made and painted."""

from ansm_plugin.data.crops import DataConfig, load_crops
from ansm_plugin.data.lists import read_pair_list
from ansm_plugin.data.pairs import Pair, find_pairs, list_images, read_pair
from ansm_plugin.data.pixels import to_tensor
from ansm_plugin.data.read import SUFFIXES, read_image, read_mask

__all__ = [
    "SUFFIXES",
    "DataConfig",
    "Pair",
    "find_pairs",
    "list_images",
    "load_crops",
    "read_image",
    "read_mask",
    "read_pair",
    "read_pair_list",
    "to_tensor",
]
