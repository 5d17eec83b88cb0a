"""The rows that validation is measured on."""

from benchmarks.data import write
from reft.config import Settings
from reft.validation.file import validate_file


def test_every_row_that_is_measured_can_be_used_so_that_no_check_is_spared(tmp_path, tokenizer):
    path = tmp_path / "rows.jsonl"
    write(path, 400)
    out = tmp_path / "out"
    found = validate_file(path, out, tokenizer, settings=Settings().validation, max_length=10_000, processes=1)
    assert (found.rows, found.usable, found.unseen) == (400, 400, 0)
