"""Test double of ForensicHub da6b54e; like the real one it prints while it is imported."""  # noqa: N999 - the host's name

print("imported ForensicHub")
