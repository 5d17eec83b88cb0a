"""`reft validate`: any file, sorted, counted, mended where that needs no guess, with pages that run nothing."""

import json
import os
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reft.config import ValidationSettings
from reft.conversations.containers import lines, recognise
from reft.conversations.schema import Conversation, Message
from reft.errors import ConfigurationError
from reft.validation.file import validate_file
from reft.validation.findings import is_mojibake, personal_data_in, secrets_in
from reft.validation.repeats import bands_of
from tests.factories import row, write_jsonl

GOOD = [row(f"question {i}", f"answer {i}") for i in range(30)]


def check(tmp_path, tokenizer, rows, out="out", fix=False, **changes):
    path = rows if not isinstance(rows, list) else write_jsonl(tmp_path / "rows.jsonl", rows)
    return validate_file(
        path, tmp_path / out, tokenizer, settings=ValidationSettings(**changes), max_length=200, fix=fix
    )


def findings(tmp_path, out="out"):
    return [json.loads(line) for line in (tmp_path / out / "findings.jsonl").open()]


def test_rows_are_sorted_and_every_one_is_named(tmp_path, tokenizer):
    rows = [*GOOD, {"messages": []}, row("", "a"), row("key AKIAIOSFODNN7EXAMPLE", "mail me: a.b@example.org")]
    found = check(tmp_path, tokenizer, rows, max_bad_share=0.2)
    assert (found.rows, found.usable, found.quarantined, found.fails) == (33, 31, 2, None)
    assert found.rules == {"missing_messages_list": 1, "missing_content": 1}
    assert [(f["row"], f["level"], f["rule"]) for f in findings(tmp_path)] == [
        (30, "quarantined", "missing_messages_list"), (31, "quarantined", "missing_content"),
        (32, "warning", "secret"), (32, "warning", "personal_data"),
    ]  # fmt: skip
    told = (tmp_path / "out" / "findings.jsonl").read_text()
    assert "AKIA" not in told
    assert "example.org" not in told
    original = (tmp_path / "rows.jsonl").read_text().splitlines()
    assert (tmp_path / "out" / "usable.jsonl").read_text().splitlines() == [*original[:30], original[32]]
    assert (tmp_path / "out" / "quarantined.jsonl").read_text().splitlines() == original[30:32]
    failed = {c["rule"] for c in found.checks if not c["passed"]}
    assert failed == {"no keys, tokens or passwords", "no personal data"}


def test_a_folder_is_used_again_for_another_file(tmp_path, tokenizer):
    (tmp_path / "one.csv").write_text("prompt,completion\n" + "a,b\n" * 12)
    (tmp_path / "two.csv").write_text("prompt,completion\n" + "c,d\n" * 15)
    for name, count in (("one", 12), ("two", 15)):
        found = check(tmp_path, tokenizer, tmp_path / f"{name}.csv")
        assert (found.kind, found.rows) == ("csv", count)
    assert (tmp_path / "out" / "usable.csv").read_text() == (tmp_path / "two.csv").read_text()
    kept = {path.name for path in (tmp_path / "out").iterdir()}
    assert kept == {"usable.csv", "quarantined.csv", "findings.jsonl", "validation.json", "docs"}


def test_results_of_another_kind_go_and_files_of_others_stay(tmp_path, tokenizer):
    (tmp_path / "one.csv").write_text("prompt,completion\n" + "a,b\n" * 12)
    check(tmp_path, tokenizer, tmp_path / "one.csv")
    (tmp_path / "out" / "usable.notes").touch()
    check(tmp_path, tokenizer, GOOD)
    kept = {path.name for path in (tmp_path / "out").iterdir()} - {"findings.jsonl", "validation.json", "docs"}
    assert kept == {"usable.jsonl", "quarantined.jsonl", "usable.notes"}


def test_policies_quarantine_or_stay_silent(tmp_path, tokenizer):
    rows = [*GOOD, row("key AKIAIOSFODNN7EXAMPLE", "a"), row("a.b@example.org", "a")]
    found = check(tmp_path, tokenizer, rows, secrets="quarantine", personal_data="off", max_bad_share=0.2)
    assert found.rules == {"secret": 1}
    assert not [f for f in findings(tmp_path) if f["rule"] == "personal_data"]


def test_openais_own_rules(tmp_path, tokenizer):
    rows = [*GOOD[:9], {"prompt": "q", "completion": "a"}]
    found = check(tmp_path, tokenizer, rows, rules="openai", max_bad_share=0.5, min_rows=1)
    assert found.rules == {"missing_messages_list": 1}
    assert found.fails is None
    few = check(tmp_path, tokenizer, GOOD[:9], out="few", rules="openai", min_rows=1)
    assert "enough rows" in few.fails


def test_what_leaks_and_what_repeats_warns(tmp_path, tokenizer):
    write_jsonl(tmp_path / "test.jsonl", [row("Question  3", "other")])
    path = write_jsonl(tmp_path / "rows.jsonl", GOOD + [row("same", "same")] * 10)
    found = validate_file(
        path,
        tmp_path / "out",
        tokenizer,
        settings=ValidationSettings(),
        max_length=200,
        held_out=tmp_path / "test.jsonl",
    )
    assert {c["rule"] for c in found.checks if not c["passed"]} == {"no prompt of the test rows", "few duplicates"}
    found = check(tmp_path, tokenizer, [row(f"q {i}", "card" if i else "other") for i in range(40)], out="one")
    assert {c["rule"] for c in found.checks if not c["passed"]} == {"answers in balance"}


def test_a_line_too_long_for_a_row_is_not_mended(tmp_path, tokenizer):
    path = tmp_path / "rows.jsonl"
    broken = json.dumps(row("q" * 300, "a")).removesuffix("}") + ",}"
    path.write_text("".join(json.dumps(r) + "\n" for r in GOOD) + broken + "\n")
    found = check(tmp_path, tokenizer, path, fix=True, max_row_characters=300, max_bad_share=0.2)
    assert (found.rules, found.fixes) == ({"row_too_long": 1}, {})


def test_fixed_rows_leave_mended_and_logged(tmp_path, tokenizer):
    path = tmp_path / "rows.jsonl"
    broken = json.dumps(row("q", "a")).removesuffix("}") + ",}"
    path.write_text("".join(json.dumps(r) + "\n" for r in GOOD) + broken + "\n")
    assert check(tmp_path, tokenizer, path, out="as it is").rules == {"not_json": 1}
    found = check(tmp_path, tokenizer, path, fix=True)
    assert found.quarantined == 0
    assert found.fixes == {"trailing comma removed": 1}
    assert [f["row"] for f in findings(tmp_path)] == [30]
    assert json.loads((tmp_path / "out" / "usable.jsonl").read_text().splitlines()[-1]) == row("q", "a")


@settings(max_examples=15, deadline=None)
@given(rows=st.lists(st.sampled_from(['{"prompt": "a", "completion": "b"}', "x", "{}", "", '{"prompt": 1}', "\x00"]),
                     min_size=1, max_size=12), fix=st.booleans())  # fmt: skip
@pytest.mark.slow
def test_kept_and_quarantined_are_all_that_was_read(tmp_path_factory, tokenizer, rows, fix):
    folder = tmp_path_factory.mktemp("rows")
    text = '{"prompt": "first", "completion": "row"}\n' + "\n".join(rows) + "\n"
    (folder / "rows.jsonl").write_text(text)
    read = list(filter(None, text.split("\n")))
    found = validate_file(
        folder / "rows.jsonl", folder / "out", tokenizer, settings=ValidationSettings(), max_length=200, fix=fix
    )
    out = [(folder / "out" / f"{name}.jsonl").read_text().split("\n")[:-1] for name in ("usable", "quarantined")]
    assert found.rows == len(read) == sum(map(len, out))
    assert (found.usable, found.quarantined, found.blank) == (*map(len, out), rows.count(""))
    if not fix:
        assert sorted(out[0] + out[1]) == sorted(read)


def test_what_is_found_in_texts():
    assert secrets_in("-----BEGIN RSA PRIVATE KEY-----") == ["Private Key"]
    assert secrets_in("ordinary words with_a_rather_long_identifier_in_them") == []
    assert personal_data_in("call +49 170 1234567 or write a.b@example.org") == ["e-mail address", "telephone number"]
    assert personal_data_in("4111 1111 1111 1111 and DE89 3704 0044 0532 0130 00") == [
        "bank account number",
        "card number",
    ]
    assert personal_data_in("order 1234567890123 of 2024-01-02, version 1.2.3, 4111 1111 1111 1112") == []
    assert is_mojibake("caf\u00c3\u00a9")
    assert not is_mojibake("caf\u00e9 \u00c3")


def test_the_command_exits_as_a_scan_does(tmp_path, tiny_model):
    from typer.testing import CliRunner

    from reft.cli import app

    (tmp_path / "run.yaml").write_text(
        json.dumps({"parameters": {"settings": {"model": {"name": tiny_model}, "data": {"task_test": None}}}})
    )

    def run(rows, *options):
        path = write_jsonl(tmp_path / "rows.jsonl", rows)
        command = [
            "validate",
            str(path),
            "--out",
            str(tmp_path / "o"),
            "--config",
            str(tmp_path / "run.yaml"),
            *options,
        ]
        return CliRunner().invoke(app, command)

    clean = run(GOOD, "--json")
    assert clean.exit_code == 0, clean.output
    assert json.loads(clean.stdout.splitlines()[-1])["usable"] == 30
    assert run([*GOOD, {}]).exit_code == 3
    assert run([{}] * 3).exit_code == 2
    few = run(GOOD[:3])
    assert few.exit_code == 0
    assert "usable, too few to train" in few.output
    assert [*lines(recognise(tmp_path / "o" / "usable.jsonl"))]


def test_a_files_name_that_is_no_utf8_is_printed_with_escapes(tmp_path, tiny_model):
    from typer.testing import CliRunner

    from reft.cli import app

    write_jsonl(path := tmp_path / os.fsdecode(b"caf\xe9.jsonl"), GOOD)
    settings = {"model": {"name": tiny_model}, "data": {"task_test": None}}
    (tmp_path / "run.yaml").write_text(json.dumps({"parameters": {"settings": settings}}))
    command = ["validate", str(path), "--out", str(tmp_path / "o"), "--config", str(tmp_path / "run.yaml")]
    done = CliRunner().invoke(app, command)
    assert done.exit_code == 0, done.output
    assert r"caf\udce9.jsonl: 30 rows (jsonl): 30 usable" in done.output


def test_rows_that_say_nearly_the_same_are_named_with_the_first(tmp_path, tokenizer):
    long = (
        "please look at the transfer that I made on Monday evening because it has not arrived and nobody has answered"
    )
    rows = [*GOOD, row(long, "done"), row(long + " me", "done"), row(long, "Done"), row("now another thing", "done")]
    check(tmp_path, tokenizer, rows)
    found = [(f["row"], f["rule"], f["remedy"]) for f in findings(tmp_path)]
    assert found == [(31, "near_duplicate", "compare row 30"), (32, "duplicate", "compare row 30")]


def test_near_rows_are_found_as_often_as_the_docstring_says():
    seeded = random.Random(5)
    words = [f"w{i}" for i in range(5000)]

    def found_at(share_changed: float, trials: int = 300) -> tuple[float, float]:
        hits, overlap = 0, 0.0
        for _ in range(trials):
            one = seeded.choices(words, k=60)
            cut = round(60 * (1 - share_changed))
            other = one[:cut] + seeded.choices(words, k=60 - cut)
            a, b = ({tuple(w[i : i + 3]) for i in range(58)} for w in (one, other))
            overlap += len(a & b) / len(a | b) / trials
            hits += bool(set(bands_of(a_row(one))) & set(bands_of(a_row(other))))
        return overlap, hits / trials

    def a_row(said: list[str]) -> Conversation:
        return Conversation(row=0, messages=(Message(role="user", content=" ".join(said)),))

    for changed in (0.05, 0.1, 0.3):
        overlap, found = found_at(changed)
        assert abs(found - (1 - (1 - overlap**6) ** 4)) < 0.1, (overlap, found)


def test_other_languages_than_the_expected_warn(tmp_path, tokenizer):
    german = row("Bitte sagen Sie mir, wo meine Überweisung von gestern geblieben ist", "Gerne")
    check(tmp_path, tokenizer, [*GOOD, german])
    assert findings(tmp_path) == []
    check(tmp_path, tokenizer, [*GOOD, german], languages=["en"])
    assert [(f["row"], f["rule"], f["remedy"]) for f in findings(tmp_path)] == [
        (30, "language", "look at the text in 'de'")
    ]


def test_results_among_the_rows_or_in_their_place_are_refused(tmp_path, tokenizer):
    (folder := tmp_path / "rows").mkdir()
    path = write_jsonl(folder / "usable.jsonl", GOOD)
    with pytest.raises(ConfigurationError, match="they would be read as rows the next time"):
        check(tmp_path, tokenizer, folder, out="rows/validated")
    with pytest.raises(ConfigurationError, match="written over the rows"):
        check(tmp_path, tokenizer, path, out="rows")
    assert check(tmp_path, tokenizer, path, out="rows/validated").usable == 30
