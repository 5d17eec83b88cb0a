"""Files that are damaged, endless or made to harm: refused with a remedy, or one bad row, and no row is lost."""

import gzip

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reft.config import ValidationSettings
from reft.conversations import limits
from reft.conversations.containers import lines, recognise
from reft.conversations.reading import BadRow, is_blank, read_rows
from reft.errors import DataFormatError


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "empty"),
        (b"PK\x03\x04rest", "zip is not read"),
        ("{}".encode("utf-16"), "utf-16 is not read"),
        (b'{\n "messages": []\n}', "pretty-printed"),
        (b"PAR1 cut off", "damaged"),
        (b"ARROW1\x00\x00 cut off", "damaged"),
        (gzip.compress(b'{"a": 1}\n' * 4000, mtime=0)[:60], "damaged"),
        (gzip.compress(gzip.compress(b"{}", mtime=0), mtime=0), "gzip is not read"),
    ],
)
def test_what_cannot_be_read_is_refused_with_a_remedy(tmp_path, content, words):
    path = tmp_path / "upload"
    path.write_bytes(content)
    with pytest.raises(DataFormatError, match=rf"(?s){words}.*remedy"):
        list(read_rows(path))


def test_a_bomb_is_refused_before_it_fills_the_disk(tmp_path, monkeypatch):
    monkeypatch.setattr(limits, "EXPANSION_FROM", 1 << 20)
    (tmp_path / "bomb").write_bytes(gzip.compress(b'{"prompt": "a", "completion": "b"}\n' * 200_000))
    with pytest.raises(DataFormatError, match="times its size"):
        for _ in read_rows(tmp_path / "bomb"):
            pass


@pytest.mark.parametrize("begin", ['{"prompt": "', '[{"prompt": "', "prompt,completion\na,b\n"])
def test_a_line_without_end_is_refused(tmp_path, begin):
    (tmp_path / "rows").write_text(begin + "a" * (3 << 20) + '"}\n')
    with pytest.raises(DataFormatError, match=r"(?s)of more than 1 MB.*raise validation\.max_line_mb"):
        list(read_rows(tmp_path / "rows", limits=ValidationSettings(max_line_mb=1)))


def test_a_hundred_megabytes_in_one_line_are_one_bad_row(tmp_path):
    with (tmp_path / "rows").open("wb") as file:
        file.write(b'{"prompt": "a", "completion": "b"}\n{"prompt": "' + b"a" * (100 << 20) + b'"}\n')
        file.write(b'{"prompt": "c", "completion": "d"}\n')
    found = [row.code if isinstance(row, BadRow) else row.instruction for row in read_rows(tmp_path / "rows")]
    assert found == ["a", "row_too_long", "c"]


@pytest.mark.parametrize(
    ("text", "count", "codes"),
    [
        ('[{"prompt": "a", "completion": "b"}, 7, {"prompt": "c", "completion": "d"}]', 3, {1: "not_an_object"}),
        ('[{"prompt": "a", "completion": "b"}, {"prompt": "c", "compl', 2, {1: "not_json"}),
        ('[{"prompt": "a", "completion": "b"},, {"prompt": 1}]', 2, {1: "not_json"}),
        ("[" * 50_000, 1, {0: "not_json"}),
        ("[]", 0, {}),
        ("[]garbage", 1, {0: "not_json"}),
    ],
)
def test_a_broken_list_loses_no_row_before_the_fault(tmp_path, text, count, codes):
    (tmp_path / "rows").write_text(text)
    found = list(read_rows(tmp_path / "rows"))
    assert len(found) == count
    assert {row.row: row.code for row in found if isinstance(row, BadRow)} == codes


def test_a_table_row_of_the_wrong_width_is_quarantined(tmp_path):
    (tmp_path / "rows").write_text('prompt,completion\na,b\nc\nd,e,f\n"g,\nh",i\n')
    found = list(read_rows(tmp_path / "rows"))
    assert [isinstance(row, BadRow) for row in found] == [False, True, True, False]
    assert found[1].code == "not_an_object"
    assert found[3].instruction == "g,\nh"


@settings(max_examples=150, deadline=None)
@given(
    content=st.one_of(
        st.binary(max_size=200),
        st.binary(max_size=60).map(gzip.compress),
        st.text(alphabet='[]{}",:\\ \n\r\tab1\x00\u00e9', max_size=120).map(str.encode),
        st.tuples(st.sampled_from([b"PAR1", b"ARROW1", b"\xff\xff\xff\xff", b"\x28\xb5\x2f\xfd", b"[", b"a,b\n"]),
                  st.binary(max_size=80)).map(b"".join),
    )
)  # fmt: skip
def test_no_bytes_crash_or_lose_a_row(tmp_path_factory, content):
    path = tmp_path_factory.mktemp("fuzz") / "upload"
    path.write_bytes(content)
    try:
        found = list(read_rows(path))
        rows = [number for number, line in enumerate(lines(recognise(path))) if not is_blank(line)]
    except DataFormatError:
        return
    assert [row.row for row in found] == rows


def test_an_item_of_a_list_that_is_nested_without_end_is_a_bad_row(tmp_path):
    good, file = '{"prompt": "a", "completion": "b"}', tmp_path / "rows.json"
    for depth in range(850, 1000):  # the depth that Python still reads, but does not write, depends on who calls
        file.write_text(f"[{good}, {'[' * depth}{']' * depth}, {good}]")
        found = list(read_rows(file))
        assert [isinstance(row, BadRow) for row in found] in ([False, True, False], [False, True])
    file.write_text(f'[{good}, [1,\r\n2], "two", {good}]')
    assert [isinstance(row, BadRow) for row in read_rows(file)] == [False, True, True, False]
