"""The GPU's benchmark, on this machine's CPU with a tiny model: that it is ready when a GPU is lent."""

import json
import math
import sys

import pytest

from benchmarks import record
from benchmarks.gpu import __main__ as command
from benchmarks.gpu.carry import lay_out
from benchmarks.gpu.made import Sizes, made, make
from benchmarks.gpu.measurements import scan

FINETUNE = "finetune, distilled, ZeRO 3"


@pytest.mark.slow
def test_a_measurement_leaves_its_numbers_and_is_not_taken_twice(tmp_path, monkeypatch, tiny_model):
    monkeypatch.setattr(record, "RESULTS", tmp_path)
    monkeypatch.setattr(command, "RESULTS", tmp_path)
    sizes = ["--model", tiny_model, "--rows", "12", "--tokens", "24", "--batch", "4"]
    monkeypatch.setattr(sys, "argv", ["gpu", *sizes, "--folder", str(tmp_path / "work"), "--only", FINETUNE])
    for _ in range(2):
        with pytest.raises(SystemExit) as ended:
            command.main()
        assert not ended.value.code
    (line,) = [json.loads(line) for line in (tmp_path / "gpu.jsonl").read_text().splitlines()]
    assert line["name"] == FINETUNE
    assert 0 < line["model_flops_utilisation"] < 1
    assert line["planned_gib"] > 0
    assert line["took_gib"] is None  # no GPU, no number


def test_scoring_is_measured_on_rows_of_the_length_that_was_asked_for(tmp_path, tiny_model):
    make(Sizes(model=tiny_model, rows=12, tokens=24, batch=4), tmp_path)
    assert {len(row) for row in made(tmp_path).user} == {24}
    found = scan(tmp_path)
    assert found["tokens_per_second"] == pytest.approx(24 * found["rows_per_second"])
    assert all(math.isfinite(value) and value > 0 for value in found.values())


def test_what_is_carried_fits_its_parts_and_is_whole_again(tmp_path):
    (tmp_path / "coming").mkdir()
    contents = {"large.whl": bytes(range(250)) * 10, "middle.whl": b"m" * 700, "small.whl": b"s" * 400}
    for name, content in contents.items():
        (tmp_path / "coming" / name).write_bytes(content)
    parts = lay_out(tmp_path / "coming", tmp_path / "out", 1000)
    folders = sorted((tmp_path / "out").glob("part-*"))
    assert len(folders) == parts
    assert all(sum(file.stat().st_size for file in folder.iterdir()) <= 1000 for folder in folders)
    for name, content in contents.items():
        pieces = sorted((tmp_path / "out").glob(f"part-*/{name}*"))
        assert b"".join(piece.read_bytes() for piece in pieces) == content
    assert not list((tmp_path / "coming").iterdir())
