"""Test double of ForensicHub."""  # noqa: N999 - the host's name
