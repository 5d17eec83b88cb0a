"""The comparison with other tools, without them: what each way is given is alike, and what comes back is counted."""

import json
import sys
from pathlib import Path

import pytest

from benchmarks import data_peers
from benchmarks.data import write
from benchmarks.data_peers import Job
from benchmarks.processes import measure
from benchmarks.result_tables import TABLES
from reft.config import Settings, parse_settings, read_profile

LINE = {
    "date": "2026-11-30T00:00:00+00:00",
    "rows": 1000,
    "processes": 2,
    "checks": "common",
    "version": "1",
    "round": 0,
}


@pytest.fixture
def job(tmp_path) -> Job:
    ours, theirs, out = tmp_path / "rows.jsonl", tmp_path / "rows", tmp_path / "out"
    write(ours, 25)
    data_peers.with_text(ours, theirs, parts=2)
    out.mkdir()
    return Job(ours=ours, theirs=theirs, out=out, rows=25, checks="common", processes=2)


def with_personal_data(job: Job) -> Job:
    return Job(**{**vars(job), "checks": "personal data"})


def test_peers_get_the_same_rows_in_order_with_their_text_a_file_for_each_process(job):
    files = sorted(job.theirs.iterdir())
    rows = [json.loads(line) for file in files for line in file.read_text().splitlines()]
    assert [len(file.read_text().splitlines()) for file in files] == [12, 13]
    assert [{"messages": row["messages"]} for row in rows] == [
        json.loads(line) for line in job.ours.read_text().splitlines()
    ]
    assert all(row["text"].startswith(row["messages"][0]["content"] + "\n") for row in rows)


def test_near_duplicates_length_and_language_are_looked_for_alike(job):
    juicer = {name: given for x in data_peers.data_juicer_given(job, "model")["process"] for name, given in x.items()}
    trove = data_peers.datatrove_given(job, "model", Path("lid"))
    minhash = juicer["document_minhash_deduplicator"]
    assert minhash["num_bands"] == trove["bands"]
    assert minhash["num_rows_per_band"] == trove["values"]
    assert minhash["num_permutations"] == trove["bands"] * trove["values"]
    assert minhash["window_size"] == trove["run"]
    assert juicer["token_num_filter"]["max_num"] == trove["max_length"] == Settings().model.max_length
    assert juicer["language_id_score_filter"] == {"lang": ["en"], "min_score": trove["sure"]}
    assert parse_settings(data_peers.settings_of(job)).validation.languages == ["en"]


def test_personal_data_are_looked_for_by_all_or_by_none(job):
    for each, wanted in ((job, False), (with_personal_data(job), True)):
        validation = parse_settings(data_peers.settings_of(each)).validation
        assert (validation.secrets != "off", validation.personal_data != "off") == (wanted, wanted)
        assert ("pii_redaction_mapper" in str(data_peers.data_juicer_given(each, "model")["process"])) == wanted
        assert data_peers.datatrove_given(each, "model", Path("lid"))["personal_data"] == wanted


def test_an_operator_of_data_juicer_that_cannot_run_fails_and_all_rows_are_validated(job):
    given = data_peers.data_juicer_given(job, "model")
    assert given["skip_op_error"] is False
    assert given["validators"][0]["sample_size"] == job.rows
    assert (given["np"], given["auto_op_parallelism"]) == (2, False)


def test_our_way_is_the_command_with_the_settings_in_a_profile(job):
    command, _ = data_peers.ours(job)
    profile = read_profile(Path(command[command.index("--config") + 1]))
    assert profile == parse_settings(data_peers.settings_of(job))
    assert command[command.index("--processes") + 1] == "2"


def test_rows_that_pass_are_counted(tmp_path):
    checks = [{"column": "duplicate", "bad_percent": 10.0}, {"column": "near_duplicate", "bad_percent": None}]
    (tmp_path / "validated").mkdir()
    found = {"rows": 20, "usable": 15, "checks": checks}
    (tmp_path / "validated/validation.json").write_text(json.dumps(found))
    (tmp_path / "kept").mkdir()
    (tmp_path / "kept/a.jsonl").write_text("{}\n{}\n")
    (tmp_path / "kept/a_stats.jsonl").write_text("{}\n{}\n")
    assert data_peers.passed("reft validate", tmp_path) == 13
    assert data_peers.passed("datatrove", tmp_path) == 2


def test_every_requirement_is_pinned_and_pytorch_is_ours_without_cuda():
    ours = [line for line in Path("constraints.txt").read_text().splitlines() if line.startswith("torch==")]
    for file in data_peers.REQUIREMENTS.iterdir():
        lines = [line for line in file.read_text().splitlines() if not line.startswith("#")]
        assert all(line.partition("==")[2] for line in lines)
        assert [line for line in lines if line.startswith(("torch==", "nvidia", "cuda", "triton"))] in ([], ours)
    assert data_peers.versions()["datatrove"].startswith("0.")


def test_the_table_holds_the_median_of_each_way_and_how_many_times_ours_it_takes(tmp_path):
    taken = [("reft validate", 2.0), ("reft validate", 9.0), ("reft validate", 4.0), ("datatrove", 8.0)]
    lines = [
        {**LINE, "way": way, "seconds": s, "cpu_seconds": 2 * s, "peak_mb": 100.0, "passed": 9} for way, s in taken
    ]
    record = tmp_path / "data_peers.jsonl"
    record.write_text("".join(json.dumps(line) + "\n" for line in lines))
    rows = [
        [cell.strip() for cell in row.split("|")[1:-1]] for row in TABLES["data-peers"].make(record).splitlines()[2:]
    ]
    assert rows == [
        ["1,000", "common", "datatrove 1", "1", "8.0", "2.00", "16.0", "100", "9", "2026-11-30"],
        ["1,000", "common", "reft validate 1", "3", "4.0", "1.00", "8.0", "100", "9", "2026-11-30"],
    ]


@pytest.mark.slow
def test_what_is_measured_cannot_install_anything(tmp_path):
    tell = "import os; print(os.environ['UV_OFFLINE'], os.environ['UV_NO_CACHE'], os.environ['PIP_NO_INDEX'])"
    measure([sys.executable, "-c", tell], data_peers.QUIET, tmp_path / "log")
    assert (tmp_path / "log").read_text().split() == ["1", "1", "1"]


@pytest.mark.slow
def test_time_and_memory_of_a_command_and_of_what_it_starts_are_measured(tmp_path):
    burn = "import time; a = bytearray(80 << 20)\nwhile time.process_time() < 1: pass"
    start = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {burn!r}], check=True)"
    found = measure([sys.executable, "-c", start], {}, tmp_path / "log")
    assert found["seconds"] > 0.9
    assert 0.9 < found["cpu_seconds"] < 5
    assert 80 < found["peak_mb"] < 400
    with pytest.raises(RuntimeError, match="ended with 7"):
        measure([sys.executable, "-c", "raise SystemExit(7)"], {}, tmp_path / "log")
