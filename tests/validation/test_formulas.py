"""Cells that a spreadsheet would run: told of, and text in the tables that people open."""

import csv
import io
import json

import pytest

from reft.config import ValidationSettings
from reft.validation.file import validate_file
from reft.validation.findings import is_formula

RUN = [
    '=HYPERLINK("https://example.org","here")', "@WEBSERVICE(A1)", "=cmd|'/C echo'!A1", '+1+HYPERLINK("a")',
    '\t=importxml("https://example.org","//a")', "-2+DDE(1)", '=IF(TRUE,WEBSERVICE("a"))', '= HYPERLINK("a")',
    '=SUM(1)+HYPERLINK("a")', "@SUM(1)*cmd|'/C echo'!A0", '=1+\n HYPERLINK("a")', '\uff1dHYPERLINK("a")',
    f'={"1+" * 200}HYPERLINK("a")',
]  # fmt: skip
HONEST = [
    "=SUM(A1:A3)", "- call (and ask) first", "-5 degrees", "+49 170 1234567", "@anna please hyperlink (this)",
    "use =HYPERLINK() in a cell", "= 2 * 3", "=IF(A1>0,1,2)", "- image (see above)", "--help|'quoted'", "a|'b'!c",
    f'={"1+" * 300}HYPERLINK("a")', "=MYIMAGE(1)",
]  # fmt: skip


@pytest.mark.parametrize("text", RUN)
def test_what_reaches_out_is_told(text):
    assert is_formula(text)


@pytest.mark.parametrize("text", HONEST)
def test_what_honest_rows_hold_is_not(text):
    assert not is_formula(text)


@pytest.mark.parametrize(("delimiter", "suffix"), [(",", "csv"), ("\t", "tsv")])
def test_tables_for_people_hold_no_formula_and_rows_for_training_are_as_they_came(
    tmp_path, tokenizer, delimiter, suffix
):
    path = tmp_path / f"rows.{suffix}"
    rows = [["-5 degrees", "@b"], *([f"question {i}", "answer"] for i in range(30)), [RUN[0], ""], ["-1", "+", "=1+1"]]
    with path.open("w", newline="") as file:
        csv.writer(file, delimiter=delimiter, lineterminator="\n").writerows([["prompt", "completion"], *rows])
    with path.open("a") as file:
        file.write(f'=1+1{delimiter}=1{delimiter}"open\n')
    settings = ValidationSettings(max_bad_share=0.5)
    validate_file(path, tmp_path / "out", tokenizer, settings=settings, max_length=200)
    original = path.read_text().splitlines()
    assert (tmp_path / "out" / f"usable.{suffix}").read_text().splitlines() == original[:32]
    quarantined = (tmp_path / "out" / f"quarantined.{suffix}").read_text()
    cells = [cell for line in csv.reader(quarantined.splitlines(), delimiter=delimiter) for cell in line]
    assert f"'{RUN[0]}" in cells
    assert not [cell for cell in cells if cell.startswith(("=", "+", "-", "@"))]
    assert f"'=1+1{delimiter}'=1{delimiter}\"open" in quarantined


CELLS = {
    "first\n=X": "first\n'=X", "  =X": "  '=X", "\uff1dX": "'\uff1dX", "hi;=X": "hi;'=X", 'a|"@X"': 'a|"\'@X"',
    "a\r+X": "a\r'+X",    "\t-X": "\t'-X", "a, b - c": "a, b - c", "x=1": "x=1", "a@b.c": "a@b.c",
}  # fmt: skip


def test_one_rule_makes_cells_and_lines_that_are_no_rows_text(tmp_path, tokenizer):
    path = tmp_path / "rows.csv"
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerows([["prompt", "completion"], *[[cell, ""] for cell in CELLS]])
        file.write('hi; =X,\uff1dX,"open\n')
    settings = ValidationSettings(max_bad_share=1.0)
    validate_file(path, tmp_path / "out", tokenizer, settings=settings, max_length=200)
    with (tmp_path / "out" / "quarantined.csv").open(newline="") as file:
        text = file.read()
    last = "hi; '=X,'\uff1dX,\"open\n"
    assert text.endswith(last)
    assert [row[0] for row in csv.reader(io.StringIO(text.removesuffix(last), newline=""))][1:] == [*CELLS.values()]


def test_a_row_that_reaches_out_warns_and_stays(tmp_path, tokenizer):
    path = tmp_path / "rows.jsonl"
    texts = [f"question {i}" for i in range(20)] + [RUN[0], HONEST[0]]
    path.write_text("".join(json.dumps({"prompt": text, "completion": "a b c"}) + "\n" for text in texts))
    found = validate_file(path, tmp_path / "out", tokenizer, settings=ValidationSettings(), max_length=200)
    assert found.usable == 22
    told = [json.loads(line) for line in (tmp_path / "out" / "findings.jsonl").open()]
    assert [(each["row"], each["level"]) for each in told if each["rule"] == "formula"] == [(20, "warning")]
    assert "no spreadsheet formulas that reach out" in {c["rule"] for c in found.checks if not c["passed"]}
