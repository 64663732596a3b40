"""Test double of ForensicHub.version."""

__version__ = "0.0.1"
