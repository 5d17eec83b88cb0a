"""Whoever asks a benchmark for help starts no measurement."""

import sys
from importlib import import_module
from pathlib import Path

import pytest

from benchmarks import record

ROOT = Path(record.__file__).parent
STARTED_BY_OTHERS = {"trl_runs", "data_peers_datatrove"}  # in environments that are not ours
COMMANDS = sorted(
    ".".join(path.relative_to(ROOT).with_suffix("").parts)
    for path in ROOT.rglob("*.py")
    if "__main__" in path.read_text() + path.stem and path.stem not in STARTED_BY_OTHERS
)


@pytest.mark.parametrize("name", COMMANDS)
def test_a_benchmark_says_what_it_does(name, monkeypatch, capsys, tmp_path):
    monkeypatch.setattr(record, "RESULTS", tmp_path)  # were it to measure, no record would be spoilt
    monkeypatch.setattr(sys, "argv", [name, "--help"])
    with pytest.raises(SystemExit) as ended:
        import_module(f"benchmarks.{name}").main()
    assert ended.value.code == 0
    assert "usage: " in capsys.readouterr().out
    assert not [*tmp_path.iterdir()]
