"""Test double: the version that the adapter is written for."""

__version__ = "0.1.45"
