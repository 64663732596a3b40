"""Test double of photoholmes.methods."""
