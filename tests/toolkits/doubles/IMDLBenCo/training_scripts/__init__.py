"""Test double of the host's package of this name."""  # noqa: N999 - its name
