import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reft.config import ValidationSettings
from reft.conversations.reading import BadRow
from reft.errors import DataFormatError, DataValidationError
from reft.validation.expectations import REMEDIES, suite_results
from reft.validation.validate import ValidatedData, validate_user_data, why_not
from tests.factories import row, write_jsonl

GOOD = [row(f"question {i}", f"answer {i}") for i in range(30)]


def validate(tmp_path, tokenizer, rows, **changes):
    return validate_user_data(
        write_jsonl(tmp_path / "rows.jsonl", rows), tokenizer, ValidationSettings(**changes), max_length=200
    )


@pytest.mark.parametrize(
    ("messages", "code"),
    [
        ([("user", "a")], "example_missing_assistant_message"),
        ([("assistant", "a")], "roles_alternation"),
        ([("user", "a"), ("user", "b"), ("assistant", "c")], "roles_alternation"),
        ([("user", "a"), ("system", "b"), ("assistant", "c")], "unrecognized_role"),
        ([("user", " "), ("assistant", "c")], "missing_content"),
        ([("user", "x y " * 300), ("assistant", "c")], "too_many_tokens"),
    ],
)
def test_a_bad_row_is_quarantined_with_rule_and_remedy(tmp_path, tokenizer, messages, code):
    bad = {"messages": [{"role": r, "content": c} for r, c in messages]}
    found = validate(tmp_path, tokenizer, [*GOOD[:20], bad, *GOOD[20:]])
    assert [(b.row, b.code) for b in found.quarantined] == [(20, code)]
    assert found.quarantined[0].remedy
    assert found.read == 31


def test_too_many_bad_rows_stop_the_job_and_are_named(tmp_path, tokenizer):
    rows = [*GOOD, *[{"messages": []}] * 10]
    with pytest.raises(DataValidationError, match=r"(?s)10 of 40 rows.*max_bad_share.*row 30: missing_messages_list"):
        validate(tmp_path, tokenizer, rows)
    assert len(validate(tmp_path, tokenizer, rows, max_bad_share=0.3).rows) == 30


def test_too_few_rows_stop_the_job(tmp_path, tokenizer):
    with pytest.raises(DataValidationError, match="enough rows"):
        validate(tmp_path, tokenizer, GOOD[:5])


def test_of_lines_that_are_too_long_a_beginning_is_held(tmp_path, tokenizer):
    rows = [*GOOD, row("x" * 500_000, "a"), row("y " * 4000, "a")]
    long, shorter = validate(tmp_path, tokenizer, rows, max_bad_share=0.5).quarantined
    assert (long.code, shorter.code) == ("row_too_long", "too_many_tokens")
    assert long.original == json.dumps(rows[30])[:2000]
    assert shorter.original == json.dumps(rows[31])


def test_a_run_that_ends_early_says_so_and_nothing_of_what_it_did_not_see(tmp_path, tokenizer):
    rows = [{"messages": []}] * 6 + [row(f"question {i}", "a") for i in range(109)]
    with pytest.raises(
        DataValidationError, match="6 of the first 6 of 115 lines cannot be used; the rest was"
    ) as raised:
        validate(tmp_path, tokenizer, rows, max_findings=5)
    assert "add rows" not in str(raised.value)


def test_a_missing_file_is_named(tmp_path, tokenizer):
    with pytest.raises(DataFormatError, match=r"gone\.jsonl"):
        validate_user_data(tmp_path / "gone.jsonl", tokenizer, ValidationSettings(), max_length=200)


def test_duplicates_and_forged_markers_warn(tmp_path, tokenizer):
    found = validate(tmp_path, tokenizer, [row("say <|im_end|>", "ok")] * 10 + GOOD)
    failed = {c["rule"] for c in found.checks if not c["passed"]}
    assert failed == {"no forged markers", "few duplicates"}


def test_every_expectation_says_what_to_do(tmp_path, tokenizer):
    found = validate(tmp_path, tokenizer, GOOD)
    remedies = {c["rule"]: c["remedy"] for c in found.checks}
    assert len(found.checks) == len(REMEDIES) + 2
    assert len(set(remedies.values())) == len(remedies)
    assert all(remedy not in ("", "None") for remedy in remedies.values())


@pytest.mark.parametrize(("rules", "words"), [("any", r"lower validation\.min_rows"), ("openai", "want ten at least")])
def test_what_fails_comes_with_its_remedy(tmp_path, tokenizer, rules, words):
    with pytest.raises(DataValidationError, match=rf"enough rows \(.*{words}"):
        validate(tmp_path, tokenizer, GOOD[:5], rules=rules)


def test_too_few_usable_rows_come_with_a_remedy():
    said = why_not([{"passed": True, "severity": "critical"}], 3, 12, settings=ValidationSettings(min_rows=10))
    assert said is not None
    assert "9 of 12 rows cannot be used: enough usable rows (mend the rows" in said


def test_no_text_of_a_row_reaches_great_expectations(tmp_path, tokenizer, monkeypatch):
    seen = []
    monkeypatch.setattr(
        "reft.validation.validate.suite_results",
        lambda frame, *rest, **named: seen.append(frame) or suite_results(frame, *rest, **named),
    )
    validate(tmp_path, tokenizer, GOOD)
    assert {str(t) for t in seen[0].dtypes} == {"int8", "int32"}


@settings(max_examples=12, deadline=None)
@given(
    lines=st.lists(st.sampled_from([json.dumps(GOOD[0]), "x", "{}", json.dumps(row("", "a"))]), min_size=1, max_size=9)
)
def test_every_row_is_accounted_for(tmp_path_factory, tokenizer, lines):
    folder = tmp_path_factory.mktemp("rows")
    lines += [json.dumps(r) for r in GOOD]
    (folder / "rows.jsonl").write_text("\n".join(lines))
    found = validate_user_data(folder / "rows.jsonl", tokenizer, ValidationSettings(max_bad_share=1.0), max_length=200)
    rows = [c.row for c in found.rows] + [b.row for b in found.quarantined]
    assert sorted(rows) == list(range(len(lines)))


def test_validated_data_survives_storage_with_broken_text(tmp_path, tokenizer):
    path = tmp_path / "raw.jsonl"
    rows = [*GOOD, row("a\u2028b\x85c", "d")]
    path.write_text("".join(json.dumps(r, ensure_ascii=False) + "\n" for r in rows), encoding="utf-8")
    found = validate_user_data(path, tokenizer, ValidationSettings(), max_length=200)
    broken = ValidatedData(
        rows=found.rows,
        quarantined=[BadRow(row=99, code="encoding", field="x", remedy="y", original="\udcff")],
        checks=found.checks,
    )
    broken.save(tmp_path / "saved")
    assert ValidatedData.load(tmp_path / "saved") == broken
