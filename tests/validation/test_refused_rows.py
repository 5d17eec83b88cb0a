"""Rows that a template refuses, that can be mended, or that are left out: one row never ends the file."""

import json
from pathlib import Path

import pytest

from reft.config import ValidationSettings
from reft.conversations.reading import read_rows
from reft.errors import ModelError
from reft.validation.file import validate_file
from tests.factories import row, write_jsonl

GOOD = [row(f"question {i}", f"answer {i}") for i in range(30)]

NO_SYSTEM = (
    "{% for m in messages %}{% if m.role == 'system' %}{{ raise_exception('System role not supported') }}{% endif %}"
    "{{ '<|im_start|>' + m.role + '\n' + m.content + '<|im_end|>\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)


def test_a_row_that_the_template_refuses_is_quarantined_alone(tmp_path, tokenizer, monkeypatch):
    monkeypatch.setattr(tokenizer, "chat_template", NO_SYSTEM)
    file = Path("tests/conversations/cases/26_one_system.jsonl")
    rows = file.read_text().splitlines()
    (refused,) = [number for number, line in enumerate(rows) if '"system"' in line]
    options = {"settings": ValidationSettings(), "max_length": 200}
    found = validate_file(file, tmp_path / "out", tokenizer, **options)
    assert (found.usable, found.quarantined) == (len(rows) - 1, 1)
    assert (found.first[0]["row"], found.first[0]["rule"]) == (refused, "chat_template")
    assert "System role not supported" in found.first[0]["remedy"]
    fixed = validate_file(file, tmp_path / "fixed", tokenizer, fix=True, **options)
    assert fixed.usable == len(rows)
    assert fixed.fixes == {"system turn merged into the user's": 1}


@pytest.mark.parametrize("kind", ["csv", "tsv", "jsonl"])
@pytest.mark.parametrize("others", [(), ("system",)])
def test_a_merged_system_column_leaves_rows_as_wide_as_their_header(tmp_path, tokenizer, monkeypatch, kind, others):
    monkeypatch.setattr(tokenizer, "chat_template", NO_SYSTEM)
    header, rows = ["system_prompt", "prompt", "completion"], [["Be kind.", "q one", "a one"], ["", "q two", "a two"]]
    header, rows = [*others, *header], [[*("" for _ in others), *cells] for cells in rows]
    by = "\t" if kind == "tsv" else ","
    file = tmp_path / "rows"
    file.write_text("".join(by.join(cells) + "\n" for cells in (header, *rows)))
    if kind == "jsonl":
        write_jsonl(file, [dict(zip(header, cells, strict=True)) for cells in rows])
    options = {"settings": ValidationSettings(), "max_length": 200}
    found = validate_file(file, tmp_path / "out", tokenizer, fix=True, **options)
    assert (found.usable, found.fixes) == (2, {"system turn merged into the user's": 1})
    again = list(read_rows(tmp_path / "out" / f"usable.{kind}"))
    assert [row.prompt[0].content for row in again] == ["Be kind.\n\nq one", "q two"]
    assert [(row.answer, len(row.messages)) for row in again] == [("a one", 2), ("a two", 2)]


def test_a_broken_template_fails_once_and_leaves_nothing(tmp_path, tokenizer, monkeypatch):
    monkeypatch.setattr(tokenizer, "chat_template", "{{ messages[0].content + 1 }}")
    rows = write_jsonl(tmp_path / "rows.jsonl", GOOD)
    with pytest.raises(ModelError, match="refuses this conversation"):
        validate_file(rows, tmp_path / "out", tokenizer, settings=ValidationSettings(), max_length=200)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("broken", "mended"),
    [
        ({"conversations": [{"from": "Human", "value": "a"}, {"from": "GPT", "value": "b"}]}, 2),
        ({"conversations": [{"from": "human", "value": "a"}, {"from": "bot", "value": "b"}]}, 1),
        ({"conversations": [{"role": "human", "content": "a"}, {"role": "bot", "content": "b"}]}, 2),
        ({"prompt": [{"role": "human", "content": "a"}], "completion": [{"role": "gpt", "content": "b"}]}, 2),
        ({"question": "a\u0007", "answer": "b", "system": "c\u0000"}, 1),
    ],
)
def test_mending_reaches_every_form(tmp_path, tokenizer, broken, mended):
    rows = write_jsonl(tmp_path / "rows.jsonl", [broken])
    options = {"settings": ValidationSettings(), "max_length": 200}
    assert validate_file(rows, tmp_path / "out", tokenizer, **options).usable == 0
    found = validate_file(rows, tmp_path / "out", tokenizer, fix=True, **options)
    assert found.usable == 1
    assert sum(found.fixes.values()) == mended


def test_what_is_left_out_blank_or_not_read_is_counted_and_named(tmp_path, tokenizer):
    kto = [{**row, "label": number > 2, "extra": {"note": "some words"}} for number, row in enumerate(GOOD)]
    rows = write_jsonl(tmp_path / "rows.jsonl", kto)
    rows.write_text("\n\n" + rows.read_text())
    found = validate_file(rows, tmp_path / "out", tokenizer, settings=ValidationSettings(), max_length=200)
    assert (found.rows, found.usable, found.left_out, found.quarantined, found.blank) == (30, 27, 3, 0, 2)
    assert found.fails is None
    assert found.unread == {"extra.note": 30}
    assert len((tmp_path / "out" / "left_out.jsonl").read_text().splitlines()) == 3
    findings = [json.loads(line) for line in (tmp_path / "out" / "findings.jsonl").read_text().splitlines()]
    (unread,) = [found for found in findings if found["rule"] == "unread_field"]
    assert (unread["row"], unread["field"]) == (2, "extra.note")
