"""What no honest file holds is refused by a limit that names its setting, in memory that the limit bounds."""

import csv
import gzip
import io
import json
import re
import sys
import tracemalloc

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import settings as examples
from hypothesis import strategies as st

from reft.config import ValidationSettings
from reft.conversations.containers import recognise
from reft.conversations.reading import read_rows
from reft.conversations.writer import stage
from reft.errors import DataFormatError
from reft.validation.file import validate_file
from reft.validation.merging import take_sorted
from reft.validation.outputs import GROUPS, Outputs, Tally
from reft.validation.rows import Columns, Judge
from reft.validation.sorting import Rules, shards_of
from reft.validation.validate import validate_user_data
from reft.validation.workers import Work
from tests.factories import row
from tests.validation import hostile_rows

GOOD = [row(f"question {i}", f"answer {i}") for i in range(30)]
HEAD = b'{"prompt": "'
ENDLESS = {
    "jsonl": HEAD, "jsonl.gz": HEAD, "jsonl.zst": HEAD, "json": b"[" + HEAD, "json.zst": b"[" + HEAD,
    "csv": b"prompt,completion\n", "tsv.gz": b"prompt\tcompletion\n",
}  # fmt: skip
SLACK = 24 << 20  # what reading takes beside what the limits bound: blocks, decompression, the error


def packed(path, content):
    """The content, compressed as the name ends."""
    if path.suffix == ".gz":
        path.write_bytes(gzip.compress(content))
    elif path.suffix == ".zst":
        with pa.CompressedOutputStream(str(path), "zstd") as stream:
            stream.write(content)
    else:
        path.write_bytes(content)
    return path


def refused(path, out, tokenizer, *, names, **limits):
    """Both ways refuse the file by the setting and leave nothing; returns the memory that it took."""
    settings = ValidationSettings(**limits)
    tracemalloc.start()
    try:
        with pytest.raises(DataFormatError, match=rf"(?s){re.escape(path.name)}.*validation\.{names}"):
            validate_file(path, out, tokenizer, settings=settings, max_length=200, processes=1)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    with pytest.raises(DataFormatError, match=rf"(?s)validation\.{names}"):
        validate_user_data(path, tokenizer, settings, max_length=200)
    assert not [*out.iterdir()] if out.exists() else True
    return peak


@pytest.mark.parametrize("kind", ENDLESS)
def test_an_endless_line_is_refused(tmp_path, tokenizer, kind):
    path = packed(tmp_path / f"rows.{kind}", ENDLESS[kind] + b"ab" * (12 << 20))
    limits = {"max_line_mb": 1, "max_expansion": 100_000}
    assert refused(path, tmp_path / "out", tokenizer, names="max_line_mb", **limits) < SLACK


@pytest.mark.parametrize("kind", ["jsonl", "jsonl.gz", "jsonl.zst"])
def test_a_flood_of_empty_lines_is_refused(tmp_path, tokenizer, kind):
    rows = "".join(json.dumps(each) + "\n" for each in GOOD).encode()
    path = packed(tmp_path / f"rows.{kind}", b"\n" * 30_000 + rows + b" \r\n" * 30_000)
    limits = {"max_blank_lines": 50_000, "max_expansion": 100_000}
    assert refused(path, tmp_path / "out", tokenizer, names="max_blank_lines", **limits) < SLACK
    settings = ValidationSettings(max_blank_lines=60_000, max_expansion=100_000)
    assert validate_file(path, tmp_path / "out", tokenizer, settings=settings, max_length=200).blank == 60_000


def test_a_blank_line_after_every_row_is_honest(tmp_path, tokenizer):
    path = tmp_path / "rows.jsonl"
    path.write_text("".join(json.dumps(each) + "\n\n" for each in GOOD))
    settings = ValidationSettings(max_blank_lines=1)
    assert validate_file(path, tmp_path / "out", tokenizer, settings=settings, max_length=200).blank == 30


@pytest.mark.parametrize("kind", ["csv", "tsv.zst", "parquet", "arrow", "stream"])
def test_a_table_of_very_many_columns_is_refused(tmp_path, tokenizer, kind):
    names = ["prompt", "completion", *(f"c{i}" for i in range(9_998))]
    path, table = tmp_path / f"rows.{kind}", pa.table({name: ["a", "b"] for name in names})
    if kind == "parquet":
        pq.write_table(table, path)
    elif kind in ("arrow", "stream"):
        made = pa.ipc.new_file if kind == "arrow" else pa.ipc.new_stream
        with made(str(path), table.schema) as writer:
            writer.write_table(table)
    else:
        text = io.StringIO()
        csv.writer(text, delimiter="\t" if kind.startswith("tsv") else ",").writerows([names, ["a"] * 10_000])
        packed(path, text.getvalue().encode())
    assert refused(path, tmp_path / "out", tokenizer, names="max_columns") < SLACK
    with pytest.raises(DataFormatError, match=r"10,000 columns: more than 1,000"):
        list(read_rows(path))
    limits = ValidationSettings(max_columns=10_000)
    assert sum(1 for _ in read_rows(path, limits=limits)) == (1 if kind in ("csv", "tsv.zst") else 2)


def test_a_bomb_under_zstandard_takes_little_memory_and_no_disk(tmp_path, tokenizer):
    path = packed(tmp_path / "rows.jsonl.zst", b"\n" * (64 << 20))
    assert path.stat().st_size < 16_384
    before = pa.default_memory_pool().max_memory()
    assert refused(path, tmp_path / "out", tokenizer, names="max_expansion") < SLACK
    assert pa.default_memory_pool().max_memory() - before < SLACK


VALUE = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(st.characters(codec="utf-8"), max_size=9)),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3), st.dictionaries(st.sampled_from(["prompt", "completion", "x"]), inner, max_size=3)
    ),
    max_leaves=6,
)
LINE = st.one_of(
    st.sampled_from(hostile_rows.LINES),
    st.sampled_from([json.dumps(each) for each in GOOD[:3]]),
    VALUE.map(json.dumps),
    st.text(st.characters(exclude_characters="\n\r", codec="utf-8"), max_size=20),
)


def counted(path, folder, tokenizer):
    """(rows, blank lines) of the file, once each row is in one of the three groups and in one of their files."""
    settings = ValidationSettings(max_bad_share=1.0, max_expansion=1_000_000)
    rules = Rules(judge=Judge(tokenizer=tokenizer, settings=settings, max_length=60), columns=None, fix=False)
    (file,) = stage(recognise(path, limits=settings), folder / "staged").files
    tally, work = Tally(Columns(tokenizer)), Work(file=file, rules=rules, folder=folder, processes=1)
    with Outputs(folder, settings.max_findings) as outputs:
        take_sorted(work, shards_of(file, settings), into=(tally, outputs), most_bad=sys.maxsize)
    written = {group: (folder / f"{group}.jsonl").read_bytes().count(b"\n") for group in GROUPS}
    assert written == {group: tally.groups.count(place) for place, group in enumerate(GROUPS)}
    assert sum(written.values()) == len(tally.noted)
    assert written["quarantined"] == tally.rules.total()
    return len(tally.noted), tally.blank


@pytest.mark.parametrize("kind", ["jsonl", "jsonl.gz", "jsonl.zst"])
@examples(max_examples=25, deadline=None)
@given(some=st.lists(LINE, max_size=12))
def test_every_line_is_a_row_or_blank(tmp_path_factory, tokenizer, kind, some):
    folder, lines = tmp_path_factory.mktemp("rows"), [json.dumps(GOOD[0]), *some]
    path = packed(folder / f"rows.{kind}", "\n".join(lines).encode("utf-8", "surrogateescape"))
    blank = sum(not line.removeprefix("\ufeff").strip() for line in lines[:-1])
    last = lines[-1]
    blank += bool(last) and not last.removeprefix("\ufeff").strip()
    assert counted(path, folder, tokenizer) == (len(lines) - (not last) - blank, blank)


@pytest.mark.parametrize("kind", ["json", "json.gz", "json.zst"])
@examples(max_examples=25, deadline=None)
@given(items=st.lists(VALUE, max_size=12))
def test_every_item_of_a_list_is_a_row(tmp_path_factory, tokenizer, kind, items):
    folder = tmp_path_factory.mktemp("rows")
    path = packed(folder / f"rows.{kind}", json.dumps([GOOD[0], *items]).encode())
    assert counted(path, folder, tokenizer) == (len(items) + 1, 0)


@pytest.mark.parametrize("kind", ["csv", "csv.gz", "tsv", "tsv.zst"])
@examples(max_examples=25, deadline=None)
@given(
    rows=st.lists(st.lists(st.text(st.characters(codec="utf-8", exclude_characters="\x00"), max_size=9), max_size=4))
)
def test_every_line_of_a_table_that_is_not_blank_is_a_row(tmp_path_factory, tokenizer, kind, rows):
    folder, text = tmp_path_factory.mktemp("rows"), io.StringIO(newline="")
    writer = csv.writer(text, delimiter="\t" if kind.startswith("tsv") else ",", quoting=csv.QUOTE_ALL)
    writer.writerows([["prompt", "completion"], ["question", "answer"], *rows])
    path = packed(folder / f"rows.{kind}", text.getvalue().encode())
    assert counted(path, folder, tokenizer) == (1 + sum(map(bool, rows)), 0)


@pytest.mark.parametrize("kind", ["parquet", "arrow", "stream"])
@examples(max_examples=25, deadline=None)
@given(
    rows=st.lists(
        st.fixed_dictionaries(
            {
                "prompt": st.one_of(st.none(), st.text(st.characters(codec="utf-8"), max_size=9)),
                "completion": st.one_of(st.none(), st.text(st.characters(codec="utf-8"), max_size=9)),
                "weight": st.one_of(st.none(), st.integers(-1, 2)),
            }
        ),
        min_size=1,
        max_size=12,
    )
)
def test_every_row_of_a_typed_table_is_a_row(tmp_path_factory, tokenizer, kind, rows):
    folder = tmp_path_factory.mktemp("rows")
    path = folder / f"rows.{kind}"
    table = pa.Table.from_pylist(rows, pa.schema([("prompt", "string"), ("completion", "string"), ("weight", "int64")]))
    if kind == "parquet":
        pq.write_table(table, path)
    else:
        made = pa.ipc.new_file if kind == "arrow" else pa.ipc.new_stream
        with made(str(path), table.schema) as writer:
            writer.write_table(table)
    assert counted(path, folder, tokenizer) == (len(rows), 0)
