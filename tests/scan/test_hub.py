"""A data set of the hub is fetched anew by every start, and a killed scan of it goes on all the same."""

import json
import time

import huggingface_hub
import pytest

from reft.config import FilteringSettings
from reft.filtering.inputs import read_inputs
from reft.filtering.scorers import load_scorer
from reft.scan.scan import scan_file
from reft.storage.files import local_copy
from reft.storage.fingerprint import of_path
from tests.factories import BREAD, build_scorer, row

SETTINGS = FilteringSettings(fpr=0.05, quarantine_fpr=0.05)


@pytest.fixture
def hub(monkeypatch):
    """The network's edge alone: what the hub's client leaves in `local_dir`, its own notes with the time among it."""

    def fetched(name, *, repo_type, local_dir, allow_patterns):
        assert (name, repo_type) == ("owner/set", "dataset")
        assert "*.jsonl" in allow_patterns
        notes = local_dir / ".cache" / "huggingface" / "download" / "data"
        notes.mkdir(parents=True)
        (local_dir / "data").mkdir()
        rows = "".join(json.dumps(row(BREAD.format(i), "yes")) + "\n" for i in range(12))
        (local_dir / "data" / "train.jsonl").write_text(rows)
        (notes / "train.jsonl.metadata").write_text(f"commit\netag\n{time.time_ns()}\n")
        return str(local_dir)

    monkeypatch.setattr(huggingface_hub, "snapshot_download", fetched)


@pytest.mark.usefixtures("hub")
def test_what_is_fetched_twice_is_the_same(tmp_path):
    first, second = (local_copy("owner/set", tmp_path / name) for name in ("first", "second"))
    assert [file.name for file in first.rglob("*") if file.is_file()] == ["train.jsonl"]
    assert of_path(first) == of_path(second)


class KilledError(Exception):
    """Takes the place of a signal that nothing handles."""


@pytest.mark.usefixtures("hub")
def test_a_killed_scan_goes_on(tiny_model, tmp_path, monkeypatch):
    scorer = load_scorer("refusal_feature", read_inputs(build_scorer(tmp_path, tiny_model)))
    monkeypatch.setattr("reft.scan.scan.ROWS_PER_SHARD", 4)

    def scan(name, report):
        return scan_file(
            local_copy("owner/set", tmp_path / name), tmp_path / "out", scorer, settings=SETTINGS, report=report
        )

    def killed(done, _total):
        if done == 8:
            raise KilledError

    with pytest.raises(KilledError):
        scan("first", killed)
    assert len(list((tmp_path / "out").glob(".scan-*/[0-9]*[0-9]"))) == 2
    told = []
    result = scan("second", lambda done, total: told.append((done, total)))
    assert result.rows == 12
    assert told == [(12, 12)]
