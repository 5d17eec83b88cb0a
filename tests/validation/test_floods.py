"""Files that mean to fill a disk or a day: what is written and held stays small, and the words name the setting."""

import gzip
import json
import re
import tracemalloc

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from reft.config import ValidationSettings
from reft.conversations.reading import BadRow, read_rows
from reft.errors import DataFormatError, DataValidationError
from reft.validation.file import validate_file
from reft.validation.validate import validate_user_data
from tests.factories import row, write_jsonl

GOOD = [row(f"question {i}", f"answer {i}") for i in range(30)]
NOT_LOOKED_AT = r"cannot be used; the rest was not looked at: rows can be used \(mend[^()]*\(.*--fix\)[^()]*\)"
PAIR = b'{"prompt": "a", "completion": "b"}\n'


def check(path, out, tokenizer, *, fix=False, **changes):
    return validate_file(path, out, tokenizer, settings=ValidationSettings(**changes), max_length=200, fix=fix)


def findings(out):
    return [json.loads(line) for line in (out / "findings.jsonl").open()]


def packed(path, content, kind):
    if kind == "gzip":
        path.write_bytes(gzip.compress(content))
    elif kind == "zstd":
        with pa.CompressedOutputStream(str(path), "zstd") as stream:
            stream.write(content)
    else:
        lines = content.splitlines()
        table = pa.table({name: [value] * len(lines) for name, value in (("prompt", "a" * 30), ("completion", "b"))})
        if kind == "parquet":
            pq.write_table(table, path)
        else:
            with pa.ipc.new_file(str(path), table.schema, options=pa.ipc.IpcWriteOptions(compression="zstd")) as writer:
                writer.write_table(table, max_chunksize=1024)
    return path


@pytest.mark.parametrize("kind", ["gzip", "zstd", "parquet", "arrow"])
def test_what_holds_too_much_is_refused_with_setting_and_limit(tmp_path, tokenizer, kind):
    path = packed(tmp_path / "rows", PAIR * 60_000, kind)
    words = r"(?s)more than 1 MB once it is decompressed.*rows.*raise validation\.max_expanded_mb"
    with pytest.raises(DataFormatError, match=words):
        check(path, tmp_path / "out", tokenizer, max_expanded_mb=1)
    assert not list((tmp_path / "out").iterdir())
    with pytest.raises(DataFormatError, match=words):
        validate_user_data(path, tokenizer, ValidationSettings(max_expanded_mb=1), max_length=200)


def test_a_folder_expands_no_further_than_one_file(tmp_path):
    for number in range(20):
        packed(tmp_path / f"{number:02d}.jsonl.gz", b"\n" * (1 << 20), "gzip")
    with pytest.raises(DataFormatError, match=r"(?s)200 times its size .*\(17 MB so far\).*16\.jsonl.*max_expansion"):
        list(read_rows(tmp_path))
    with pytest.raises(DataFormatError, match=r"(?s)more than 3 MB .*03\.jsonl.*max_expanded_mb"):
        list(read_rows(tmp_path, limits=ValidationSettings(max_expanded_mb=3)))
    assert list(read_rows(tmp_path, limits=ValidationSettings(max_expansion=2000))) == []


@pytest.mark.parametrize("kind", ["parquet", "arrow"])
def test_a_text_that_all_rows_share_is_no_bomb(tmp_path, kind):
    table = pa.table({"prompt": [f"question {i}" for i in range(6000)], "completion": ["a" * 4096] * 6000})
    (tmp_path / "rows").mkdir()
    for name in ("a", "b"):
        if kind == "parquet":
            pq.write_table(table, tmp_path / "rows" / name, compression="zstd")
        else:
            options = pa.ipc.IpcWriteOptions(compression="zstd")
            with pa.ipc.new_file(str(tmp_path / "rows" / name), table.schema, options=options) as writer:
                writer.write_table(table, max_chunksize=1024)
    assert 2 * table.nbytes > 200 * sum(file.stat().st_size for file in (tmp_path / "rows").iterdir())
    assert sum(1 for _ in read_rows(tmp_path / "rows")) == 12_000
    with pytest.raises(DataFormatError, match=r"(?s)more than 30 MB.*b\n.*give it in parts, or raise validation"):
        list(read_rows(tmp_path / "rows", limits=ValidationSettings(max_expanded_mb=30)))


def test_what_expands_too_far_is_refused_with_setting_and_limit(tmp_path):
    path = packed(tmp_path / "rows", b"\n" * (40 << 20), "gzip")
    words = r"more than 200 times its size .*\(1[67] MB so far\)\n.*\n.*validation\.max_expansion"
    with pytest.raises(DataFormatError, match=words):
        list(read_rows(path))


@pytest.mark.parametrize(
    ("head", "name"), [(b"\xfd7zXZ\x00", "xz"), (b"BZh91AY&SY", "bzip2"), (b"7z\xbc\xaf\x27\x1c", "7z")]
)
def test_archives_that_are_not_read_are_named(tmp_path, head, name):
    (tmp_path / "rows").write_bytes(head + bytes(range(200)))
    with pytest.raises(DataFormatError, match=f"(?s){name} is not read.*unpack it"):
        list(read_rows(tmp_path / "rows"))


def test_blank_lines_are_counted_and_take_no_findings(tmp_path, tokenizer):
    text = "".join(json.dumps(each) + "\n" * 2000 for each in GOOD)
    (tmp_path / "rows.jsonl").write_text(text)
    found = check(tmp_path / "rows.jsonl", tmp_path / "out", tokenizer)
    assert (found.rows, found.blank, found.fails) == (30, 30 * 1999, None)
    assert findings(tmp_path / "out") == []


@pytest.mark.parametrize(
    "content", [b"\n" * 3000, b"[]", b"prompt,completion\n", gzip.compress(b" \r\n" * 50, mtime=0)]
)
def test_a_file_without_rows_is_refused(tmp_path, tokenizer, content):
    (tmp_path / "rows").write_bytes(content)
    with pytest.raises(DataFormatError, match=r"(?s)no rows.*give at least one row"):
        check(tmp_path / "rows", tmp_path / "out", tokenizer)
    with pytest.raises(DataFormatError, match="no rows"):
        validate_user_data(tmp_path / "rows", tokenizer, ValidationSettings(), max_length=200)


def test_findings_of_one_kind_are_listed_up_to_the_limit_and_counted(tmp_path, tokenizer):
    rows = [*GOOD, *[{"messages": []}] * 7, row("mail a.b@example.org", "a"), *[row("", "a")] * 2]
    path = write_jsonl(tmp_path / "rows.jsonl", rows)
    found = check(path, tmp_path / "out", tokenizer, max_findings=3, max_bad_share=0.9)
    assert found.rules["missing_messages_list"] == 7
    assert found.unlisted == {"missing_messages_list": 4}
    listed = [each for each in findings(tmp_path / "out") if each["rule"] == "missing_messages_list"]
    assert [each["row"] for each in listed] == [30, 31, 32, None]
    assert re.search(r"^4 more .*validation\.max_findings \(3\)", listed[-1]["remedy"])
    assert {each["rule"] for each in findings(tmp_path / "out")} >= {
        "missing_messages_list",
        "missing_content",
        "personal_data",
    }
    assert len((tmp_path / "out" / "quarantined.jsonl").read_text().splitlines()) == 9


def test_invented_roles_do_not_fill_the_summary(tmp_path, tokenizer):
    path = write_jsonl(tmp_path / "rows.jsonl", [{"messages": [{"role": f"Role{i}"}]} for i in range(300)])
    assert len(check(path, tmp_path / "out", tokenizer, fix=True).fixes) == 51


@pytest.mark.parametrize("kind", ["jsonl", "json", "parquet"])
def test_a_lost_file_ends_early_and_loses_nothing_that_was_read(tmp_path, tokenizer, kind):
    rows = [{"prompt": "q", "completion": "a"}] * 20 + [{"prompt": "", "completion": ""}] * 300
    path = tmp_path / f"rows.{kind}"
    if kind == "jsonl":
        write_jsonl(path, rows)
    elif kind == "json":
        path.write_text(json.dumps(rows))
    else:
        pq.write_table(pa.Table.from_pylist(rows), path)
    found = check(path, tmp_path / "out", tokenizer, max_findings=10, max_bad_share=0.1)
    assert (found.usable, found.quarantined, found.unseen) == (20, 33, 320 - 53)
    assert re.search(rf"33 of the first 53 of \d+ lines {NOT_LOOKED_AT}", found.fails)
    assert [check["rule"] for check in found.checks] == ["rows can be used"]
    assert not found.too_few
    page = (tmp_path / "out" / "docs" / "index.html").read_text()
    assert "rows can be used" in page
    assert "enough rows" not in page
    back = [len(list(read_rows(tmp_path / "out" / f"{name}.{kind}"))) for name in ("usable", "quarantined")]
    assert back == [20, 33]
    with pytest.raises(DataValidationError, match=f"33 of the first 53 of 320 lines {NOT_LOOKED_AT}"):
        validate_user_data(path, tokenizer, ValidationSettings(max_findings=10, max_bad_share=0.1), max_length=200)
    whole = check(path, tmp_path / "whole", tokenizer, max_findings=1000, max_bad_share=0.1)
    assert (whole.quarantined, whole.unseen) == (300, 0)


def test_a_flood_of_bad_rows_is_held_in_little_memory(tmp_path, tokenizer):
    check(write_jsonl(tmp_path / "few.jsonl", GOOD), tmp_path / "first", tokenizer)  # what loads once is there
    (tmp_path / "rows.jsonl").write_bytes(b"x\n" * 400_000)
    tracemalloc.start()
    found = check(tmp_path / "rows.jsonl", tmp_path / "out", tokenizer, max_findings=100)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert found.unseen == 400_000 - 20_001
    assert peak < 20 << 20
    assert sum(file.stat().st_size for file in (tmp_path / "out").rglob("*.jsonl")) < 200_000


def test_reading_goes_on_beside_what_is_bad(tmp_path):
    (tmp_path / "rows").write_bytes(b"\n\nx\n" + PAIR)
    assert [(each.row, isinstance(each, BadRow)) for each in read_rows(tmp_path / "rows")] == [(2, True), (3, False)]
