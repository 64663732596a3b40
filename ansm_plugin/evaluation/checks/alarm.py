"""An alarm: a reason to distrust an evaluation, for people and for scripts."""

from __future__ import annotations

from typing import Literal

AlarmName = Literal[
    "untrained",  # the ANSM adds nothing
    "blind",  # the localizer finds next to nothing
    "idle",  # an attack does nothing to the bare localizer
    "rising",  # F1 does not fall with eps
    "weak-white-box",  # who knows the module takes less than who does not
    "leak",  # noise made with the true mask tells the module that mask
    "decodes",  # noise made with a wrong mask makes the module mark that mask
    "overwrites",  # the module writes a mask of its own into the picture
    "gradient",  # a gradient is missing, masked or random
    "search",  # the white-box search contradicts itself
    "unconverged",  # the white box still falls with twice the steps
]


class Alarm(str):
    """What is wrong or suspicious, in plain words, with a name for scripts.

    Args:
        name: the kind of alarm.
        text: the words, which the alarm is as a string.
    """

    name: AlarmName

    def __new__(cls, name: AlarmName, text: str) -> Alarm:
        """Keep the name beside the words."""
        alarm = super().__new__(cls, text)
        alarm.name = name
        return alarm

    def __getnewargs__(self) -> tuple[AlarmName, str]:  # type: ignore[override]
        """Let it be copied, and sent to other processes."""
        return self.name, self.text

    @property
    def text(self) -> str:
        """The words alone."""
        return str.__str__(self)
