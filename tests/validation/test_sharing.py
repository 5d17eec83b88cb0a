"""Parts of an input, validated one by one in any order and put together, are what one process leaves of the whole."""

import csv
import gzip
import json
import shutil

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import settings as examples
from hypothesis import strategies as st

from reft.config import ValidationSettings
from reft.conversations.reading import read_rows
from reft.errors import ConfigurationError, DataFormatError
from reft.models.tokenizers import load_tokenizer
from reft.storage.store import Store
from reft.validation import parts
from reft.validation.file import validate_file
from reft.validation.parts import Piece, assigned, fetched, kind_of, parts_of
from reft.validation.rows import Judge
from reft.validation.sharing import Shared, forget, give_out, merge, validate_part
from reft.validation.sorting import Rules
from tests.factories import row, write_jsonl
from tests.validation import hostile_rows

LONGEST = 60


def rules_for(tokenizer, *, fix=False, **changes):
    settings = ValidationSettings(**{"max_bad_share": 0.9, **changes})
    return Rules(judge=Judge(tokenizer=tokenizer, settings=settings, max_length=LONGEST), columns=None, fix=fix)


def given_out(data, out, rules, size):
    job = assigned(Store(str(data)), rules, split="", size=size, processes=1)
    return give_out(job, rules.judge.tokenizer, store=Store(str(out)), folder=".work")


def together(data, out, rules, size, lost=()):
    """Every part but the lost ones validated, the last first, and all put together."""
    shared = given_out(data, out, rules, size)
    for number in reversed(range(len(shared.job.parts))):
        if number not in lost:
            validate_part(shared, number)
    return shared, merge(shared, dict.fromkeys(lost, "its pod was killed"))


def alone(data, out, rules):
    settings = rules.judge.settings
    return validate_file(data, out, rules.judge.tokenizer, settings=settings, max_length=LONGEST, fix=rules.fix)


def hostile_folder(folder, seed=1, files=4, lines=60):
    """Files whose rows repeat those of others."""
    found = hostile_rows.lines(seed, files * lines - 2)
    found = [json.dumps(row("same?", "yes")), *found]
    found.append(found[0])
    folder.mkdir()
    for number in range(files):
        text = "".join(f"{line}\n" for line in found[number * lines : (number + 1) * lines])
        (folder / f"{number}.jsonl").write_bytes(text.encode("utf-8", "surrogateescape"))
    return folder


def contents(out, group, kind="jsonl"):
    parts = sorted((out / group).glob("part-*")) if (out / group).is_dir() else [out / f"{group}.{kind}"]
    return b"".join(part.read_bytes() for part in parts if part.is_file())


def same(one, other):
    for group in ("usable", "quarantined", "left_out"):
        assert contents(one, group) == contents(other, group), group
    for name in ("findings.jsonl", "validation.json"):
        assert (one / name).read_bytes() == (other / name).read_bytes(), name
    assert (one / "docs" / "index.html").is_file()


@pytest.mark.parametrize("way", [{}, {"fix": True, "languages": ["en"]}, {"max_findings": 3}], ids=str)
@pytest.mark.parametrize("size", [3000, 1 << 20])
def test_parts_put_together_are_the_whole_byte_for_byte(tmp_path, tokenizer, way, size):
    data, rules = hostile_folder(tmp_path / "rows"), rules_for(tokenizer, **way)
    shared, found = together(data, tmp_path / "shared", rules, size)
    whole = alone(data, tmp_path / "whole", rules)
    same(tmp_path / "shared", tmp_path / "whole")
    assert found == whole
    assert found.rows == found.usable + found.quarantined + found.left_out
    assert (len(shared.job.parts) > 1) == (size < 1 << 20)
    repeats = [json.loads(line) for line in (tmp_path / "shared" / "findings.jsonl").open()]
    repeats = [each for each in repeats if each["rule"].endswith("duplicate") and each["row"] is not None]
    pairs = [(each["row"], int(each["remedy"].split()[-1])) for each in repeats]
    assert way or any(row >= 180 and first < 60 for row, first in pairs)  # in the last file and in the first
    forget(shared, {}, found.unread_parts)
    assert not (tmp_path / "shared" / ".work").exists()


def test_data_that_is_lost_ends_at_the_same_row(tmp_path, tokenizer):
    data = hostile_folder(tmp_path / "rows", seed=7)
    rules = rules_for(tokenizer, max_findings=5, max_bad_share=0.1)
    _, found = together(data, tmp_path / "shared", rules, 3000)
    whole = alone(data, tmp_path / "whole", rules)
    assert found.unseen
    assert found == whole
    same(tmp_path / "shared", tmp_path / "whole")


def test_tables_whose_types_differ_share_a_part_and_one_that_does_not_go_with_them_is_named(tmp_path, tokenizer):
    (data := tmp_path / "rows").mkdir()
    for name, system in {"a": ["be kind"], "b": [None], "c": [7]}.items():
        table = pa.table({"system": system, "prompt": [f"question {name}"], "completion": ["yes"]})
        pq.write_table(table, data / f"{name}.parquet")
    shared, found = together(data, tmp_path / "shared", rules_for(tokenizer), 1 << 20)
    assert len(shared.job.parts) == 1
    (fault,) = found.unread_parts
    assert fault["key"].endswith("c.parquet")
    assert "'system' is string in a.parquet and int64 in c.parquet" in fault["what"]
    (given,) = (tmp_path / "shared" / "usable").iterdir()
    assert pq.read_table(given).column("system").to_pylist() == ["be kind", None]
    assert found.usable == 2


def table_rows(count):
    return [{"prompt": f"question {i}", "completion": "yes" if i % 7 else "", "label": i % 5 > 0} for i in range(count)]


def write_as(kind, path, rows):
    """The rows as a file of the kind."""
    if kind == "csv":
        with path.open("w", newline="") as file:
            csv.writer(file).writerows([[*rows[0]], *[each.values() for each in rows]])
    elif kind == "json":
        path.write_text(json.dumps(rows))
    elif kind == "parquet":
        pq.write_table(pa.Table.from_pylist(rows), path)
    elif kind == "jsonl.gz":
        path.write_bytes(gzip.compress("".join(json.dumps(each) + "\n" for each in rows).encode()))
    else:
        with pa.CompressedOutputStream(str(path), "zstd") as stream:
            stream.write("".join(json.dumps(each) + "\n" for each in rows).encode())


@pytest.mark.parametrize("kind", ["csv", "json", "parquet", "jsonl.gz", "jsonl.zst"])
def test_files_of_every_kind_are_shared_and_leave_as_they_came(tmp_path, tokenizer, monkeypatch, kind):
    (tmp_path / "rows").mkdir()
    for number in range(4):
        write_as(kind, tmp_path / "rows" / f"{number}.{kind}", table_rows(40)[number * 10 : number * 10 + 10])
    rules = rules_for(tokenizer)
    monkeypatch.setattr(parts, "PIECES", 1)
    _, found = together(tmp_path / "rows", tmp_path / "shared", rules, 9000)
    assert found == alone(tmp_path / "rows", tmp_path / "whole", rules)
    assert found.rows == 40 == found.usable + found.quarantined + found.left_out
    for group in ("usable", "quarantined", "left_out"):
        back = [each for part in sorted((tmp_path / "shared" / group).iterdir()) for each in rows_in(part)]
        assert back == rows_in(tmp_path / "whole" / f"{group}.{kind}"), group


def rows_in(path):
    try:
        return [getattr(each, "messages", getattr(each, "code", None)) for each in read_rows(path)]
    except DataFormatError:  # of a group without rows
        return []


@examples(max_examples=60, deadline=None)
@given(st.binary(max_size=120).map(lambda some: some.replace(b"a", b"\n")), st.integers(1, 130))
def test_pieces_of_any_size_hold_each_line_once(tmp_path_factory, text, size):
    folder = tmp_path_factory.mktemp("pieces")
    text = b'{"a": 1}' + text
    (folder / "rows.jsonl").write_bytes(text)
    data, limits = Store(str(folder / "rows.jsonl")), ValidationSettings()
    container, parts = parts_of(data, data.files(), size)
    assert container.kind == "jsonl"
    kind, found = kind_of(container), []
    for number, piece in enumerate(piece for part in parts for piece in part):
        local = fetched(data, piece, kind, limits=limits, into=folder / str(number))
        found.append(local.files[0].read_bytes())
    assert b"".join(found) == text


def test_a_file_that_cannot_be_read_is_named_and_the_rest_goes_on(tmp_path, tokenizer):
    data = hostile_folder(tmp_path / "rows")
    whole = alone(data, tmp_path / "whole", rules := rules_for(tokenizer, max_line_mb=1))
    (data / "1-endless.jsonl").write_bytes(b'{"prompt": "' + b"a" * (2 << 20))
    shared, found = together(data, tmp_path / "shared", rules, 300_000)
    faults = found.unread_parts
    assert {(fault["key"].rsplit("/", 1)[-1], fault["what"]) for fault in faults} == {
        ("1-endless.jsonl", "a line of more than 1 MB")
    }
    assert faults[0]["offset"] == 0
    assert "validation.max_line_mb" in faults[0]["remedy"]
    assert (found.rows, found.usable, found.quarantined) == (whole.rows, whole.usable, whole.quarantined)
    assert (tmp_path / "shared" / "findings.jsonl").read_bytes() == (tmp_path / "whole" / "findings.jsonl").read_bytes()
    before = shared.done()
    forget(shared, {}, faults)
    assert shared.done()
    assert shared.done() < before  # what could not be read is looked at again, the rest is not


def test_a_lost_part_is_named_and_done_again_alone(tmp_path, tokenizer):
    data, rules = hostile_folder(tmp_path / "rows"), rules_for(tokenizer)
    shared, found = together(data, tmp_path / "shared", rules, 4000, lost=[1])
    piece = shared.job.parts[1][0]
    assert (found.unread_parts[0]["offset"], found.unread_parts[0]["what"]) == (piece.begin, "its pod was killed")
    forget(shared, {1: ""}, found.unread_parts)
    again = given_out(data, tmp_path / "shared", rules, 4000)
    assert {*range(len(again.job.parts))} - again.done() == {1}
    validate_part(again, 1)
    assert merge(again, {}) == alone(data, tmp_path / "whole", rules)
    same(tmp_path / "shared", tmp_path / "whole")


def test_what_changed_meanwhile_is_gone_or_of_another_kind_is_named(tmp_path, tokenizer, monkeypatch):
    monkeypatch.setattr(parts, "PIECES", 1)
    data = tmp_path / "rows"
    data.mkdir()
    for name in "abcd":
        write_jsonl(data / f"{name}.jsonl", [row(f"{name} {i}", "yes") for i in range(20)])
    (data / "e.csv").write_text("prompt,completion\nq,a\n")
    shared = given_out(data, tmp_path / "out", rules_for(tokenizer), 9000)
    write_jsonl(data / "b.jsonl", [row("new", "rows")])
    (data / "c.jsonl").unlink()
    for number in range(len(shared.job.parts)):
        validate_part(shared, number)
    found = merge(shared, {})
    said = {fault["key"].rsplit("/", 1)[-1]: fault["what"] for fault in found.unread_parts}
    assert said == {
        "b.jsonl": "it changed meanwhile", "c.jsonl": "it is not there",
        "e.csv": "of another kind (csv) than the first file (jsonl)",
    }  # fmt: skip
    assert found.rows == 40


def test_a_machine_that_judges_otherwise_takes_no_part(tmp_path, tokenizer):
    data = hostile_folder(tmp_path / "rows", files=1)
    shared = given_out(data, tmp_path / "out", rules_for(tokenizer), 9000)
    found = Shared.found(shared.store, ".work", load_tokenizer)
    assert found.job == shared.job
    text = (tmp_path / "out" / ".work" / "work.json").read_text()
    (tmp_path / "out" / ".work" / "work.json").write_text(text.replace(f'"max_length": {LONGEST}', '"max_length": 61'))
    with pytest.raises(ConfigurationError, match=r"of another version[\s\S]*cluster\.image"):
        Shared.found(shared.store, ".work", load_tokenizer)


def test_nothing_there_or_no_rows_is_refused(tmp_path, tokenizer):
    rules = rules_for(tokenizer)
    with pytest.raises(DataFormatError, match="no such file or folder"):
        given_out(tmp_path / "gone", tmp_path / "out", rules, 9)
    (tmp_path / "rows.jsonl").write_bytes(b"\n" * 50)
    with pytest.raises(DataFormatError, match="no rows, only 50 blank lines"):
        together(tmp_path / "rows.jsonl", tmp_path / "out", rules, 20)


def test_files_are_ordered_as_in_a_folder_and_small_ones_share_a_part(tmp_path, tokenizer):
    data = tmp_path / "rows"
    for name in ("b/2", "b-c/1", "a", "c"):
        (data / name).parent.mkdir(parents=True, exist_ok=True)
        write_jsonl(data / f"{name}.jsonl", [row(name, "yes")])
    (data / "README.md").write_text("about")
    shared = given_out(data, tmp_path / "out", rules_for(tokenizer, min_rows=1), 200)
    pieces = [piece.name for part in shared.job.parts for piece in part]
    assert pieces == [file.relative_to(data).as_posix() for file in sorted(data.rglob("*.jsonl"))]
    assert 1 < len(shared.job.parts) < 4
    assert all(isinstance(piece, Piece) and piece.is_whole for part in shared.job.parts for piece in part)
    shutil.rmtree(data)
