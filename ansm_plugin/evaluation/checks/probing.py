"""Probes one after the other: shown while they run, and kept once they are finished."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable

from torch import Tensor

from ansm_plugin.evaluation.records import Records
from ansm_plugin.evaluation.transplant import Values
from ansm_plugin.localizer.call import Forward
from ansm_plugin.system.progress import Progress, silent


class Probing:
    """Some probes of one kind.

    Args:
        name: of the kind, for the progress.
        passes: of the localizer that all of them take, about.
        records: finished probes, which are not run again; None keeps nothing.
        progress: called with the name, finished and all passes, and no logs.
    """

    def __init__(
        self,
        name: str = "probes",
        passes: int = 0,
        records: Records | None = None,
        progress: Progress = silent,
    ) -> None:
        self._name, self._passes, self._progress = name, passes, progress
        self._records = Records(None, "") if records is None else records  # it may be empty
        self._done, self._limit, self._told = 0, 0, -1

    def watched(self, forward: Forward) -> Forward:
        """Return a forward that counts its passes for the progress."""

        def counted(pixels: Tensor) -> Tensor:
            # What runs may take more passes than it was thought to.
            self._done = min(self._done + 1, self._limit)
            self._tell()
            return forward(pixels)

        return counted

    def numbers(self, key: str, passes: int, find: Callable[[], dict[str, float]]) -> Values:
        """Return numbers by name, each alone in a list, as they were kept or as they are found.

        Args:
            key: whatever decides them, beside models and images.
            passes: that finding them takes, about.
            find: finds them.
        """
        with_passes = self._run(passes)
        found: Values | None = self._records.noted(key)
        if found is None:
            found = {name: [value] for name, value in find().items()}
            # Others are no JSON; who reads them would not find them again.
            if all(math.isfinite(value) for values in found.values() for value in values):
                self._records.note(key, found)
        with_passes()
        return found

    def texts(self, key: str, passes: int, find: Callable[[], Iterable[str]]) -> tuple[str, ...]:
        """Return texts, as they were kept or as they are found; see `numbers`."""
        with_passes = self._run(passes)
        found = self._records.said(key)
        if found is None:
            found = tuple(find())
            self._records.say(key, found)
        with_passes()
        return found

    def _run(self, passes: int) -> Callable[[], None]:
        """Begin a probe; return what ends it, however few passes it took."""
        end = self._done + passes
        self._limit = end
        self._tell()

        def finish() -> None:
            self._done = end
            self._tell()

        return finish

    def _tell(self) -> None:
        done = min(self._done, self._passes)
        if self._passes and done > self._told:
            self._told = done
            self._progress(self._name, done, self._passes, {})
