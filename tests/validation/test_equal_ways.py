"""The fast way finds what the plain one finds, row for row; nothing that was read is lost on it."""

import csv
import gzip
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import settings as examples
from hypothesis import strategies as st

from reft.config import ValidationSettings
from reft.conversations.languages import languages_of_texts
from reft.conversations.lengths import _plain_text, lengths
from reft.conversations.reading import read_rows
from reft.conversations.schema import Conversation, Message
from reft.conversations.templates import PLAIN
from reft.conversations.tokenization import encode
from reft.errors import ModelError
from reft.validation import sorting, workers
from reft.validation.file import validate_file
from reft.validation.findings import personal_data_in
from reft.validation.repeats import bands_of
from tests.factories import row, write_jsonl
from tests.validation import hostile_rows, row_by_row

ROOT = Path(__file__).parents[2]
WAYS = [
    {"languages": ["en"]}, {"secrets": "quarantine", "personal_data": "quarantine"}, {"rules": "openai", "fix": True},
    {"max_findings": 5, "max_bad_share": 0.1}, {"personal_data": "off", "fix": True, "languages": ["de", "ja"]},
]  # fmt: skip


def write(path, lines):
    path.write_bytes("".join(f"{line}\n" for line in lines).encode("utf-8", "surrogateescape"))
    return path


def told(out, name):
    return (
        (out / name).read_bytes().decode("utf-8", "surrogateescape").split("\n")[:-1] if (out / name).exists() else []
    )


def small_shards(monkeypatch, size=3000):
    monkeypatch.setattr(sorting, "SHARD_BYTES", size)
    monkeypatch.setattr(sorting, "BLOCK", size // 4)
    monkeypatch.setattr(sorting, "ROWS_AT_ONCE", 7)


@pytest.mark.parametrize("way", WAYS, ids=str)
@pytest.mark.parametrize("seed", [1, 2])
def test_the_fast_way_finds_what_the_plain_one_finds(tmp_path, tokenizer, monkeypatch, way, seed):
    small_shards(monkeypatch)
    changes = {name: value for name, value in way.items() if name != "fix"}
    settings, fix = ValidationSettings(**{"max_bad_share": 0.9, **changes}), way.get("fix", False)
    begins = json.dumps(row("hello", "hi"))  # by which the file's kind is told
    path = write(tmp_path / "rows.jsonl", [begins, *hostile_rows.lines(seed, 250)])
    groups, findings, counted = row_by_row.validate(path, tokenizer, settings, 60, fix)
    found = validate_file(path, tmp_path / "out", tokenizer, settings=settings, max_length=60, fix=fix, processes=1)
    for name, lines in groups.items():
        assert told(tmp_path / "out", f"{name}.jsonl") == lines, name
    listed = [json.loads(line) for line in told(tmp_path / "out", "findings.jsonl")]
    listed = [each for each in listed if each["rule"] != "unread_field" and each["row"] is not None]
    assert [(each["rule"], each["row"], each["remedy"], each["level"]) for each in listed] == findings
    assert {name: getattr(found, name) for name in counted} == counted
    assert (found.usable, found.quarantined, found.left_out) == tuple(map(len, groups.values()))


def test_lengths_are_those_of_the_tokens_and_no_text_forges_a_marker(tokenizer, any_model, tmp_path):
    from reft.models.tokenizers import load_tokenizer

    path = write(tmp_path / "rows.jsonl", hostile_rows.lines(3, 400))
    rows = [each for each in read_rows(path) if isinstance(each, Conversation)]
    rows = [each for each in rows if any(m.role == "user" for m in each.messages)]
    for template in (None, PLAIN, "{% for m in messages %}<|im_end|>{{ m.content | trim }}{% endfor %}"):
        chosen = load_tokenizer(any_model)
        chosen.chat_template = template or chosen.chat_template
        expected = []
        for each in rows:
            try:
                expected.append(len(encode(chosen, each)))
            except ModelError as error:
                expected.append(str(error))
        assert [str(n) if isinstance(n, ModelError) else n for n in lengths(chosen, rows)] == expected
    fast = [each for each in rows if _plain_text(tokenizer, each)]
    assert 0.5 < len(fast) / len(rows) < 1
    assert not any("<|im_end|>" in m.content for each in fast for m in each.messages)


@pytest.mark.parametrize("how", [{"lstrip": True}, {"rstrip": True}, {"normalized": True}])
def test_markers_that_take_more_than_themselves_are_left_to_the_exact_way(tiny_model, how):
    from tokenizers import AddedToken, normalizers

    from reft.models.tokenizers import load_tokenizer

    chosen = load_tokenizer(tiny_model)
    if "normalized" in how:
        chosen.backend_tokenizer.normalizer = normalizers.Lowercase()
    chosen.add_tokens([AddedToken("<odd>", special=True, **{"normalized": False, **how})], special_tokens=True)
    one = Conversation(row=0, messages=tuple(read_messages("a <ODD> b")))
    assert _plain_text(chosen, one) is None
    assert lengths(chosen, [one]) == [len(encode(chosen, one))]


def read_messages(text):
    return [Message(role="user", content=text), Message(role="assistant", content="yes")]


@examples(max_examples=40, deadline=None)
@given(st.lists(st.one_of(st.text(max_size=80), st.sampled_from(hostile_rows.PIECES)), min_size=1, max_size=6))
def test_languages_and_personal_data_of_any_text_are_the_same(parts):
    texts = [" ".join(parts), "".join(parts), *parts, "x".join(parts) * 9]
    assert languages_of_texts(texts) == [row_by_row.language_of_text(text) for text in texts]
    assert [personal_data_in(text) for text in texts] == [row_by_row.personal_data_in(text) for text in texts]


@examples(max_examples=40, deadline=None)
@given(st.text(st.characters(codec="utf-8"), max_size=120), st.text(st.characters(codec="utf-8"), max_size=40))
def test_bands_are_those_of_datasketch(asked, answered):
    one = Conversation(row=0, messages=(*read_messages(asked)[:1], *read_messages(answered)))
    assert bands_of(one) == row_by_row.bands_of(one)


CELL = st.text(st.characters(codec="utf-8", exclude_characters="\x00"), max_size=12)


@pytest.mark.parametrize("kind", ["jsonl", "json", "csv", "tsv", "parquet", "arrow", "jsonl.gz", "csv.zst"])
@examples(max_examples=8, deadline=None)
@given(pairs=st.lists(st.tuples(CELL, st.sampled_from(["", "yes", "no"])), min_size=1, max_size=30))
def test_what_was_read_is_usable_quarantined_or_left_out(tmp_path_factory, tokenizer, kind, pairs):
    folder = tmp_path_factory.mktemp("rows")
    rows = [{"prompt": asked, "completion": said, "label": said != "no"} for asked, said in pairs]
    path, table = folder / f"rows.{kind}", pa.Table.from_pylist(rows)
    if kind.startswith("jsonl"):
        write_jsonl(folder / "rows.jsonl", rows)
    elif kind == "json":
        path.write_text(json.dumps(rows))
    elif kind[:3] in ("csv", "tsv"):
        with (folder / kind[:3]).open("w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file, delimiter="," if kind[:3] == "csv" else "\t")
            writer.writerows([[*rows[0]], *[each.values() for each in rows]])
        path.write_bytes((folder / kind[:3]).read_bytes())
    elif kind == "parquet":
        pq.write_table(table, path)
    else:
        with pa.ipc.new_file(str(path), table.schema) as writer:
            writer.write_table(table)
    if kind == "jsonl.gz":
        path.write_bytes(gzip.compress((folder / "rows.jsonl").read_bytes()))
    if kind == "csv.zst":
        packed = path.read_bytes()
        with pa.CompressedOutputStream(str(path), "zstd") as stream:
            stream.write(packed)
    settings = ValidationSettings(max_bad_share=1.0)
    found = validate_file(path, folder / "out", tokenizer, settings=settings, max_length=60)
    assert found.rows == len(rows) == found.usable + found.quarantined + found.left_out
    back = {}
    for name in ("usable", "quarantined", "left_out"):
        files = [file for file in (folder / "out").glob(f"{name}.*") if file.stat().st_size]
        back[name] = sum(1 for file in files for _ in read_rows(file))
    assert back == {"usable": found.usable, "quarantined": found.quarantined, "left_out": found.left_out}


def test_shards_are_the_file_whatever_its_lines(tmp_path, monkeypatch):
    small_shards(monkeypatch, 64)
    for text in (b"", b"a", b"a\n", b"\n" * 500, b"a" * 999, b"ab\n" * 99 + b"c", b"x" * 200 + b"\n" + b"y\n" * 70):
        (tmp_path / "rows").write_bytes(text)
        found = sorting.shards_of(tmp_path / "rows", ValidationSettings())
        assert b"".join(text[each.begin : each.end] for each in found) == text
        assert sum(each.lines for each in found) == len(text.split(b"\n")) - text.endswith(b"\n") - (text == b"")
        for each in found:
            assert each.first_line == text[: each.begin].count(b"\n")
            assert [n for part in sorting._chunks(tmp_path / "rows", each) for n, _ in part] == [
                *range(each.first_line, each.first_line + each.lines)
            ]


RUN = """
import sys
from pathlib import Path
from reft.config import ValidationSettings
from reft.models.tokenizers import load_tokenizer
from reft.validation import sorting
from reft.validation.file import validate_file
sorting.SHARD_BYTES, sorting.BLOCK = 20_000, 5_000
if __name__ == "__main__":
    tokenizer = load_tokenizer(sys.argv[1])
    settings = ValidationSettings(max_bad_share=0.9, languages=["en"])
    validate_file(Path(sys.argv[2]), Path(sys.argv[3]), tokenizer, settings=settings, max_length=60, processes=2)
"""


def started(tmp_path, *arguments):
    (tmp_path / "run.py").write_text(RUN)
    environment = os.environ | {"HF_HUB_OFFLINE": "1", "PYTHONPATH": str(ROOT)}
    return subprocess.Popen([sys.executable, tmp_path / "run.py", *map(str, arguments)], env=environment)


def contents(out):
    return {path.name: path.read_bytes() for path in out.iterdir() if path.is_file()}


@pytest.mark.slow
def test_killed_it_resumes_and_two_processes_find_what_one_finds(tmp_path, tiny_model, tokenizer, monkeypatch):
    path = write(tmp_path / "rows.jsonl", hostile_rows.lines(5, 6000))
    process = started(tmp_path, tiny_model, path, tmp_path / "out")
    deadline = time.monotonic() + 120
    while len(done := [*(tmp_path / "out").glob(".reft-scratch-validate-*/0*[0-9]")]) < 3:
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.wait()
    time.sleep(1.5)  # the others end by themselves, and write no more
    done = [*(tmp_path / "out").glob(".reft-scratch-validate-*/0*[0-9]")]
    monkeypatch.setattr(sorting, "SHARD_BYTES", 20_000)
    monkeypatch.setattr(sorting, "BLOCK", 5_000)
    sorted_again, sort_shard = [], sorting.sort_shard

    def noted(file, shard, *rest, **named):
        sorted_again.append(shard.number)
        sort_shard(file, shard, *rest, **named)

    monkeypatch.setattr(workers, "sort_shard", noted)
    settings = ValidationSettings(max_bad_share=0.9, languages=["en"])

    def check(out, processes=1):
        validate_file(path, out, tokenizer, settings=settings, max_length=60, processes=processes)

    check(tmp_path / "out")
    assert not {int(folder.name) for folder in done} & {*sorted_again}
    assert len(done) + len(sorted_again) == len(sorting.shards_of(path, settings))
    check(tmp_path / "whole")
    whole = started(tmp_path, tiny_model, path, tmp_path / "two")
    assert whole.wait(timeout=120) == 0
    assert contents(tmp_path / "whole") == contents(tmp_path / "out") == contents(tmp_path / "two")
    assert not [*tmp_path.glob("*/.reft-scratch-*")]


@pytest.mark.slow
def test_the_command_starts_without_pytorch(tmp_path, tiny_model):
    path = write_jsonl(tmp_path / "rows.jsonl", [row(f"question {i}", "answer") for i in range(12)])
    profile = {"parameters": {"settings": {"model": {"name": tiny_model}, "data": {"task_test": None}}}}
    (tmp_path / "run.yaml").write_text(json.dumps(profile))
    code = "import sys\nfrom reft.cli import app\n"
    code += f"try: app(['validate', {str(path)!r}, '--out', {str(tmp_path / 'o')!r}, '--config', 'run.yaml'])\n"
    code += "finally: print(sorted({'torch', 'mlflow', 'zenml'} & {*sys.modules}))"
    environment = os.environ | {"HF_HUB_OFFLINE": "1", "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, env=environment, capture_output=True, text=True, check=True
    )
    assert "12 usable" in done.stdout
    assert done.stdout.splitlines()[-1] == "[]"
