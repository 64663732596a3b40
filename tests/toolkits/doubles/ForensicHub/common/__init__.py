"""Test double of ForensicHub.common."""  # noqa: N999 - the host's name
