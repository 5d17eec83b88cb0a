"""Carriage returns that stand alone: the line ends of old Macs."""

import json

import pytest

from reft.conversations.reading import CARRIAGE_RETURN, OLD_LINE_ENDS, BadRow, read_rows
from tests.factories import row

ROW = json.dumps(row("Where is my card?", "cards"))


def test_rows_that_only_a_carriage_return_parts_are_told_with_the_remedy(tmp_path):
    path = tmp_path / "rows.jsonl"
    path.write_bytes(f"{ROW}\r{ROW}\n{ROW}\r\n".encode())
    bad, good = read_rows(path)
    assert isinstance(bad, BadRow)
    assert (bad.row, bad.code, bad.remedy) == (0, "not_json", OLD_LINE_ENDS)
    assert "carriage return (CR, the line end of old Macs)" in bad.remedy
    assert r"tr '\r' '\n' < file > new" in bad.remedy
    assert not isinstance(good, BadRow)


def test_a_file_of_old_line_ends_is_not_called_too_long(tmp_path):
    path = tmp_path / "rows.jsonl"
    path.write_bytes(f"{ROW}\r".encode() * 5)
    (bad,) = read_rows(path, max_characters=2 * len(ROW))
    assert isinstance(bad, BadRow)
    assert (bad.code, bad.remedy) == ("row_too_long", OLD_LINE_ENDS)


@pytest.mark.parametrize(
    ("line", "remedy"),
    [
        ('{"prompt": "a\rb", "completion": "c"}', CARRIAGE_RETURN),
        ('{"prompt": \r "a", "completion": }', "write one JSON object per line (Expecting value"),
    ],
)
def test_a_carriage_return_inside_a_row_is_named_where_it_is_the_fault(tmp_path, line, remedy):
    path = tmp_path / "rows.jsonl"
    path.write_bytes(f"{line}\n{ROW}\n".encode())
    bad = next(iter(read_rows(path)))
    assert isinstance(bad, BadRow)
    assert bad.remedy.startswith(remedy)
