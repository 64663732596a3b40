"""Test double of IMDLBenCo; like the real one it silences everybody's warnings when imported."""  # noqa: N999 - the host's name

import warnings

from . import registry as registry

warnings.filterwarnings("ignore")
