"""Weights whose data allow research alone, for the catalogue of ansm_plugin: see pyproject.toml."""

from pathlib import Path

FOLDER = Path(__file__).parent  # of cards and weights, as `ansm_plugin.weights` asks for it
