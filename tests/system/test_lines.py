"""Files of JSON lines survive kills in the middle of a line."""

from __future__ import annotations

from pathlib import Path

import pytest

from ansm_plugin.errors import ConfigError
from ansm_plugin.system.lines import absorb_parts, append_line, part_of, read_lines
from ansm_plugin.system.processes import ALONE, Processes


def test_lines_come_back_in_order(tmp_path: Path) -> None:
    path = tmp_path / "r.jsonl"
    for number in range(3):
        append_line(path, {"n": number})
    assert [line["n"] for line in read_lines(path)] == [0, 1, 2]


def test_a_torn_line_costs_itself_alone(tmp_path: Path) -> None:
    path = tmp_path / "r.jsonl"
    append_line(path, {"n": 0})
    with path.open("a") as stream:
        stream.write('{"n": 1')
    append_line(path, {"n": 2})
    assert [line["n"] for line in read_lines(path)] == [0, 2]


def test_parts_of_other_processes_are_absorbed(tmp_path: Path) -> None:
    path = tmp_path / "r.jsonl"
    path.write_bytes(b'{"n": 0}\n{"n":')
    append_line(part_of(path, Processes(1, 2)), {"n": 1})
    absorb_parts(path)
    assert [line["n"] for line in read_lines(path)] == [0, 1]
    assert list(tmp_path.iterdir()) == [path]


def test_what_is_no_table_is_passed_over(tmp_path: Path) -> None:
    path = tmp_path / "r.jsonl"
    path.write_bytes(b'[1]\n"text"\n\xff\xfe\n{"n": 1}\n')
    assert list(read_lines(path)) == [{"n": 1}]
    assert list(read_lines(tmp_path / "absent")) == []


def test_a_folder_in_its_place_is_a_clear_error(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be read"):
        list(read_lines(tmp_path))
    with pytest.raises(ConfigError, match="cannot write"):
        append_line(tmp_path, {})


def test_parts_are_named_by_rank_and_absorbed_in_whole_lines(tmp_path: Path) -> None:
    path = tmp_path / "records.jsonl"
    assert part_of(path, ALONE) == path
    assert part_of(path, Processes(2, 3)).name == "records.2.jsonl"
    absorb_parts(tmp_path / "nowhere" / "records.jsonl")
    path.write_text("a\nhal")
    (tmp_path / "records.1.jsonl").write_text("b\ntor")
    (tmp_path / "records.2.jsonl").write_text("c\n")
    (tmp_path / "records.old.jsonl").write_text("not ours\n")
    absorb_parts(path)
    assert path.read_text() == "a\nhal\nb\ntor\nc\n"
    assert sorted(p.name for p in tmp_path.iterdir()) == ["records.jsonl", "records.old.jsonl"]


def test_parts_that_cannot_be_absorbed_are_named(tmp_path: Path) -> None:
    (tmp_path / "records.jsonl").mkdir()
    (tmp_path / "records.1.jsonl").write_text("a\n")
    with pytest.raises(ConfigError, match=r"cannot write .*records\.jsonl"):
        absorb_parts(tmp_path / "records.jsonl")
