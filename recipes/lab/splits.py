"""Splits of CASIA1 that share neither a host nor a donor, and a count of what splits share.

    PYTHONPATH=recipes python -m lab.splits CASIA1 SPLITS.csv

Prints how many images share a photograph with training, as the set comes (49 of 77 test splices:
its splits have hosts of their own, not donors) and apart, and writes the splits apart: a line
`image,split` for each forgery and each authentic photograph in use. `lab.beds` follows such a list.

The name of a forgery tells the photographs that it was made of: `Sp_D_CND_A_pla0005_pla0023_0281`
is `pla0005` with something of `pla0023`; `Au_pla_0023` is that photograph itself. A localizer that
was trained on a photograph knows it, be it as host or as donor.
"""

from __future__ import annotations

import csv
import re
import sys
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path, PurePath
from typing import NamedTuple

from ansm_plugin.data.pairs import list_images

TRAIN, VAL, TEST = SPLITS = ("train", "val", "test")
AUTHENTIC_KIND = "authentic"
IN_USE = {TEST: 30, VAL: 40}  # authentic photographs
_FORGED = re.compile(r"(?:Sp|Tp)_\w_\w+_\w_([a-z]{3}\d+)_([a-z]{3}\d+)_\d+")
_UNTOUCHED = re.compile(r"Au_([a-z]{3})_(\d+)")


class Member(NamedTuple):
    """An image of the set: its file name, its kind (splice, copymove, texture) and its split."""

    name: str
    kind: str
    split: str


def photographs(name: str) -> frozenset[str]:
    """Return the photographs that an image was made of: host and donor, or itself.

    Raises:
        ValueError: the name is none of CASIA1's.
    """
    stem = PurePath(name).stem
    if found := _FORGED.match(stem):
        return frozenset(found.groups())
    if found := _UNTOUCHED.match(stem):
        return frozenset(["".join(found.groups())])
    raise ValueError(f"{name} is no name of CASIA1, which would tell host and donor")


def shared(members: Iterable[Member], with_split: str = TRAIN) -> dict[tuple[str, str], list[str]]:
    """Return by split and kind the images that share a photograph with an image of another split.

    Args:
        members: images of all splits; of authentic ones, too.
        with_split: the other split.
    """
    members = list(members)
    known = {p for m in members if m.split == with_split for p in photographs(m.name)}
    found: dict[tuple[str, str], list[str]] = defaultdict(list)
    for member in members:
        if member.split != with_split and photographs(member.name) & known:
            found[member.split, member.kind].append(member.name)
    return dict(found)


def disjoint(members: Sequence[Member]) -> dict[str, str]:
    """Return a split for each image so that no two splits share a photograph.

    Images that photographs connect stay together. Each split has about as many images of each kind
    as before, and keeps those that it had where there is a choice.
    """
    room = Counter((member.split, member.kind) for member in members)
    taken: Counter[tuple[str, str]] = Counter()
    found: dict[str, str] = {}
    for group in _connected(members):
        kinds = Counter(member.kind for member in group)
        stays = Counter(member.split for member in group)

        def cost(
            split: str, kinds: Counter[str] = kinds, stays: Counter[str] = stays
        ) -> tuple[int, int]:
            over = (taken[split, k] + n - room[split, k] for k, n in kinds.items())
            return sum(max(0, excess) for excess in over), -stays[split]

        split = min(SPLITS, key=cost)
        found |= {member.name: split for member in group}
        taken.update({(split, kind): count for kind, count in kinds.items()})
    return found


def apart(authentic: Path, names: Iterable[str]) -> list[Path]:
    """Return the photographs of a folder that none of the named images was made of."""
    known = frozenset().union(*map(photographs, names))
    return [file for file in list_images(authentic) if not photographs(file.name) & known]


def untouched(
    names: Iterable[str], forged: Mapping[str, str], at_most: Mapping[str, int]
) -> dict[str, str]:
    """Return a split for authentic photographs: that of the forgeries made of them.

    Those that no forgery was made of fill up what is missing; the rest is in no split.

    Args:
        names: of authentic photographs.
        forged: the split of each forgery.
        at_most: photographs of each split; splits that it does not name get none.
    """
    owner = {p: split for name, split in forged.items() for p in photographs(name)}
    room, found = Counter(at_most), {}
    by_owner = sorted(names, key=lambda name: (not photographs(name) & owner.keys(), name))
    for name in by_owner:
        (photograph,) = photographs(name)
        fitting = [owner[photograph]] if photograph in owner else [TEST, VAL]
        split = next((split for split in fitting if room[split] > 0), None)
        if split is not None:
            found[name] = split
            room[split] -= 1
    return found


def table(members: Sequence[Member]) -> Iterator[str]:
    """Yield for each split and kind how many images share a photograph with training."""
    counts = Counter((m.split, m.kind) for m in members if m.split != TRAIN)
    found = shared(members)
    for (split, kind), count in sorted(counts.items()):
        yield f"{split} {kind}: {len(found.get((split, kind), ()))} of {count}"


def _connected(members: Sequence[Member]) -> list[list[Member]]:
    """Return groups that share no photograph, large ones first: small ones even out the rest."""
    parent: dict[str, str] = {}

    def root(photograph: str) -> str:
        while parent.setdefault(photograph, photograph) != photograph:
            photograph = parent[photograph]
        return photograph

    for member in members:
        first, *others = sorted(photographs(member.name))
        for other in others:
            parent[root(other)] = root(first)
    groups: dict[str, list[Member]] = defaultdict(list)
    for member in members:
        groups[root(min(photographs(member.name)))].append(member)
    return sorted(groups.values(), key=lambda group: (-len(group), min(m.name for m in group)))


def forgeries_of(source: Path) -> list[Member]:
    """Return the forgeries of CASIA1 with the splits that come with it."""
    with (source / "pairs.csv").open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    return [
        Member(
            row["image"],
            "texture" if row["note"] == "texture" else row["gt_type"].replace("-", ""),
            row["split"],
        )
        for row in rows
    ]


def authentic_of(source: Path) -> list[Member]:
    """Return the authentic photographs that are in use where no list of splits is given."""
    names = [path.name for path in list_images(source / "authentic")]
    tested = names[:: max(1, len(names) // IN_USE[TEST])][: IN_USE[TEST]]
    others = [name for name in names if name not in tested][::3][: IN_USE[VAL]]
    return [
        Member(name, AUTHENTIC_KIND, split)
        for split, chosen in ((TEST, tested), (VAL, others))
        for name in chosen
    ]


def write(source: Path, target: Path) -> None:
    """Print what splits share with training, and write a list of such as share nothing."""
    forged, authentic = forgeries_of(source), authentic_of(source)
    split_of = disjoint(forged)
    names = [path.name for path in list_images(source / "authentic")]
    apart = untouched(names, split_of, IN_USE)
    others = [Member(name, AUTHENTIC_KIND, split) for name, split in apart.items()]
    for title, members in (
        ("as it comes", [*forged, *authentic]),
        ("apart", [*(m._replace(split=split_of[m.name]) for m in forged), *others]),
    ):
        print(f"share a host or donor with training, {title}:")
        print(*(f"    {line}" for line in table(members)), sep="\n")
    with target.open("w", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(("image", "split"))
        writer.writerows(sorted((split_of | apart).items()))


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    write(Path(sys.argv[1]), Path(sys.argv[2]))
