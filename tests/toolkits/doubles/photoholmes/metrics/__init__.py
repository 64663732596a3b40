"""Test double of photoholmes.metrics."""
