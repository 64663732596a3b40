"""Test double of photoholmes.datasets."""
