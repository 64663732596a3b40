"""A tiny localizer with a weakness, a defence against it, and forged images for both."""

from support.colour_blinded import *  # noqa: F403 - fixtures, found by their names
