"""Splits that share neither host nor donor, and the count of what splits share."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from lab import beds
from lab.splits import (
    AUTHENTIC_KIND,
    TEST,
    TRAIN,
    VAL,
    Member,
    disjoint,
    photographs,
    shared,
    untouched,
    write,
)

HOSTS = [f"ani{number:04}" for number in range(12)]


def forged(host: str, donor: str, number: int = 1) -> str:
    return f"Sp_D_CND_A_{host}_{donor}_{number:04}.jpg"


@pytest.mark.parametrize(
    ("name", "made_of"),
    [
        ("Sp_D_CND_A_pla0005_pla0023_0281.jpg", {"pla0005", "pla0023"}),
        ("Sp_S_CRN_A_sec0056_sec0056_0015.png", {"sec0056"}),
        ("Au_ani_0010.jpg", {"ani0010"}),
    ],
)
def test_a_name_tells_what_an_image_was_made_of(name: str, made_of: set[str]) -> None:
    assert photographs(name) == made_of


def test_another_name_is_refused() -> None:
    with pytest.raises(ValueError, match=r"remix-0001\.jpg is no name of CASIA1"):
        photographs("remix-0001.jpg")


def test_hosts_and_donors_are_shared_alike() -> None:
    """A test image shares with training whatever part either plays; others do not count."""
    members = [
        Member(forged("ani0001", "ani0002"), "splice", TRAIN),
        Member(forged("ani0003", "ani0004"), "splice", VAL),
        Member(forged("ani0001", "ani0009"), "splice", TEST),  # the same host
        Member(forged("ani0008", "ani0002"), "splice", TEST),  # the same donor
        Member(forged("ani0002", "ani0008"), "copymove", TEST),  # a donor as host
        Member(forged("ani0003", "ani0007"), "splice", TEST),  # of validation alone
        Member("Au_ani_0001.jpg", AUTHENTIC_KIND, TEST),
        Member("Au_ani_0007.jpg", AUTHENTIC_KIND, TEST),
    ]
    found = shared(members)
    assert {key: len(names) for key, names in found.items()} == {
        (TEST, "splice"): 2,
        (TEST, "copymove"): 1,
        (TEST, AUTHENTIC_KIND): 1,
    }
    assert shared(members, VAL) == {(TEST, "splice"): [members[5].name]}


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.tuples(
            st.sampled_from(HOSTS),
            st.sampled_from(HOSTS),
            st.sampled_from(("splice", "copymove")),
            st.sampled_from((TRAIN, VAL, TEST)),
        ),
        max_size=40,
    )
)
def test_no_photograph_is_in_two_splits(made: list[tuple[str, str, str, str]]) -> None:
    """Whatever is connected with whatever; each image has a split, the same at every call."""
    members = [Member(forged(h, d, i), k, s) for i, (h, d, k, s) in enumerate(made)]
    split_of = disjoint(members)
    assert split_of.keys() == {member.name for member in members}
    assert split_of == disjoint(members[::-1]) == disjoint(members)
    again = [member._replace(split=split_of[member.name]) for member in members]
    assert not any(shared(again, split) for split in (TRAIN, VAL, TEST))
    names = [f"Au_{host[:3]}_{host[3:]}.jpg" for host in HOSTS]
    authentic = untouched(names, split_of, {TEST: 3, VAL: 4})
    others = [Member(name, AUTHENTIC_KIND, split) for name, split in authentic.items()]
    assert not any(shared([*again, *others], split) for split in (TRAIN, VAL, TEST))
    counts = [list(authentic.values()).count(split) for split in (TRAIN, TEST, VAL)]
    assert counts[0] == 0
    assert counts[1] <= 3
    assert counts[2] <= 4


def test_splits_that_share_nothing_stay_as_they_are() -> None:
    members = [
        Member(forged(host, host), "splice", split)
        for host, split in zip(HOSTS, (TRAIN, TRAIN, VAL, TEST) * 3, strict=True)
    ]
    assert disjoint(members) == {member.name: member.split for member in members}


@pytest.fixture(name="casia1")
def _casia1(tmp_path: Path) -> Path:
    """Write a set of five forgeries and three authentic photographs."""
    source = tmp_path / "CASIA1"
    rows = [
        ("ani0001", "ani0002", "train"),
        ("ani0003", "ani0003", "train"),
        ("ani0004", "ani0002", "test"),
        ("ani0005", "ani0005", "test"),
        ("ani0006", "ani0006", "val"),
    ]
    for folder in ("images", "masks", "authentic"):
        (source / folder).mkdir(parents=True)
    blank = Image.fromarray(np.full((40, 40, 3), 90, np.uint8))
    mask = np.zeros((40, 40), np.uint8)
    mask[5:20, 5:20] = 255
    with (source / "pairs.csv").open("w", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(("image", "split", "gt_type", "note"))
        for host, donor, split in rows:
            name = forged(host, donor)
            writer.writerow((name, split, "splice", ""))
            blank.save(source / "images" / name)
            Image.fromarray(mask).save(source / "masks" / f"{Path(name).stem}_gt.png")
    for number in (1, 5, 9):
        blank.save(source / "authentic" / f"Au_ani_{number:04}.jpg")
    return source


def test_the_command_counts_and_writes_a_list_that_the_bed_follows(
    casia1: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(beds, "REMIXES", 0)
    listing = tmp_path / "splits.csv"
    write(casia1, listing)
    before, after = capsys.readouterr().out.split("training, apart:\n")
    assert "    test splice: 1 of 2\n" in before
    assert "test splice: 0 of " in after
    assert all(": 0 of " in line for line in after.splitlines())
    with listing.open(newline="") as stream:
        chosen = {row["image"]: row["split"] for row in csv.DictReader(stream)}
    beds.casia1(casia1, tmp_path / "bed", listing)
    for name, split in chosen.items():
        folder = "train" if split == "train" else f"{split}-splice"
        assert (tmp_path / "bed" / folder / "images" / name).exists()
    laid = {p: p.parts[-3] for p in (tmp_path / "bed").rglob("images/*.jpg")}
    own = [p.name for p, folder in laid.items() if folder != "train-authentic"]
    assert sorted(own) == sorted(chosen)
    known = {p for name, split in chosen.items() if split != "train" for p in photographs(name)}
    extra = [p.name for p, folder in laid.items() if folder == "train-authentic"]
    assert extra
    assert not any(photographs(name) & known for name in extra)


def test_without_a_list_the_bed_is_as_before(
    casia1: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(beds, "REMIXES", 0)
    beds.casia1(casia1, tmp_path / "bed")
    found = {p.relative_to(tmp_path / "bed").parts for p in (tmp_path / "bed").rglob("images/*")}
    names = {(folder, name) for folder, _, name in found}
    assert names == {
        ("train", forged("ani0001", "ani0002")),
        ("train", forged("ani0003", "ani0003")),
        ("test-splice", forged("ani0004", "ani0002")),
        ("test-splice", forged("ani0005", "ani0005")),
        ("val-splice", forged("ani0006", "ani0006")),
        *(("test-splice", f"Au_ani_{number:04}.jpg") for number in (1, 5, 9)),
    }
