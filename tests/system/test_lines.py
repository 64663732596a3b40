"""Files of JSON lines survive kills in the middle of a line."""

from __future__ import annotations

from pathlib import Path

import pytest

from ansm_plugin.errors import ConfigError
from ansm_plugin.system.lines import absorb_parts, append_line, part_of, read_lines
from ansm_plugin.system.processes import Processes


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
