"""Test double of ForensicHub.common.utils."""  # noqa: N999 - the host's name
