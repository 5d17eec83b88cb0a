import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
from typer.testing import CliRunner

from reft.cli import app
from reft.config import FilteringSettings
from reft.errors import ConfigurationError, DataFormatError, StorageError
from reft.filtering.filter import Filter
from reft.filtering.inputs import read_inputs
from reft.filtering.overrides import Override, read_overrides
from reft.filtering.scorers import load_scorer
from reft.scan.scan import scan_file
from reft.storage.files import local_copy
from tests.factories import BREAD, HARM, build_scorer, row, write_jsonl

SETTINGS = FilteringSettings(fpr=0.05, quarantine_fpr=0.05)


@pytest.fixture(scope="module")
def teacher_folder(tiny_model, tmp_path_factory):
    """A saved scorer whose teacher is the tiny model itself."""
    return build_scorer(tmp_path_factory.mktemp("scorer"), tiny_model)


@pytest.fixture
def data(tmp_path):
    rows = [row(BREAD.format(i), "yes") for i in range(30)] + [row(HARM.format(i), "Sure") for i in range(30, 34)]
    path = write_jsonl(tmp_path / "data.jsonl", rows)
    with path.open("ab") as file:
        file.write(b'not json\n{"messages": [{"role": "user", "content": "caf\xe9"}]}\n')
        file.write(b'{"note":1, "prompt":"How do I bake bread?", "completion":"ok"}')
    return path


def scorer_of(folder):
    return load_scorer("refusal_feature", read_inputs(folder))


def lines(path: Path) -> list[bytes]:
    return path.read_bytes().splitlines()


def test_every_row_is_accounted_for_and_leaves_as_it_came(teacher_folder, data, tmp_path):
    result = scan_file(data, tmp_path / "out", scorer_of(teacher_folder), settings=SETTINGS)
    sorted_rows = {name: lines(tmp_path / "out" / f"{name}.jsonl") for name in ("kept", "quarantined", "dropped")}
    assert sorted(line for group in sorted_rows.values() for line in group) == sorted(lines(data))
    assert {name: len(group) for name, group in sorted_rows.items()} == result.counts
    decisions = [json.loads(line) for line in lines(tmp_path / "out" / "decisions.jsonl")]
    assert [d["row"] for d in decisions] == list(range(37))
    assert all(d["decision"] != "keep" for d in decisions[30:36])
    assert decisions[34]["score"] is None
    assert "not_json" in decisions[34]["reason"]
    assert decisions[30]["where"].startswith("user[0]")
    assert not list((tmp_path / "out").glob(".scan-*"))


def test_a_row_without_a_user_turn_is_quarantined_and_the_others_are_scanned(teacher_folder, tmp_path):
    rows = [row(BREAD.format(i), f"Knead loaf number {i} and let it rise.") for i in range(60)]
    greeting = {"messages": [{"role": "assistant", "content": "Hello and welcome to our help desk."}]}
    path = write_jsonl(tmp_path / "data.jsonl", [*rows, greeting])
    scan_file(path, tmp_path / "out", scorer_of(teacher_folder), settings=SETTINGS)
    decisions = [json.loads(line) for line in lines(tmp_path / "out" / "decisions.jsonl")]
    assert [d["row"] for d in decisions if d["reason"] == "cannot be scored: no user turn with a text"] == [60]
    assert decisions[60]["decision"] == "quarantine"
    assert all(d["score"] is not None for d in decisions[:60])


def test_results_among_the_rows_or_in_their_place_are_refused_before_anything_is_written(
    teacher_folder, data, tmp_path, monkeypatch
):
    (folder := tmp_path / "rows").mkdir()
    rows = data.rename(folder / "rows.jsonl")
    monkeypatch.chdir(folder)
    scorer = scorer_of(teacher_folder)
    for where in (Path("scanned"), Path(".")):
        with pytest.raises(ConfigurationError, match="they would be read as rows the next time"):
            scan_file(Path("."), where, scorer, settings=SETTINGS)
    kept = rows.rename(folder / "kept.jsonl")
    before = kept.read_bytes()
    with pytest.raises(ConfigurationError, match="written over the rows"):
        scan_file(kept, folder, scorer, settings=SETTINGS)
    assert [path.name for path in folder.iterdir()] == ["kept.jsonl"]
    assert kept.read_bytes() == before


@pytest.mark.slow
def test_shards_and_processes_do_not_change_the_result(teacher_folder, data, tmp_path, monkeypatch):
    scorer = scorer_of(teacher_folder)
    scan_file(data, tmp_path / "whole", scorer, settings=SETTINGS)
    monkeypatch.setattr("reft.scan.scan.ROWS_PER_SHARD", 5)
    assert scan_file(data, tmp_path / "shared", scorer, settings=SETTINGS, rank=1, processes=2) is None
    scan_file(data, tmp_path / "shared", scorer, settings=SETTINGS, rank=0, processes=2)
    for name in ("kept", "quarantined", "dropped"):
        assert lines(tmp_path / "whole" / f"{name}.jsonl") == lines(tmp_path / "shared" / f"{name}.jsonl")
    whole, shared = ([json.loads(x) for x in lines(tmp_path / n / "decisions.jsonl")] for n in ("whole", "shared"))
    for one, other in zip(whole, shared, strict=True):
        assert (one["row"], one["decision"], one["where"]) == (other["row"], other["decision"], other["where"])
        assert one["score"] == pytest.approx(other["score"], abs=1e-4) if one["score"] is not None else True


@pytest.mark.slow
def test_a_killed_scan_resumes(teacher_folder, tmp_path):
    path = write_jsonl(tmp_path / "data.jsonl", [row(BREAD.format(i), "yes") for i in range(3000)])
    program = (
        "import sys, reft.scan.scan as s; from pathlib import Path; from reft.filtering.inputs import read_inputs;"
        "from reft.filtering.scorers import load_scorer;"
        "from reft.config import FilteringSettings; s.ROWS_PER_SHARD = 100;"
        "scorer = load_scorer('refusal_feature', read_inputs(Path(sys.argv[3])));"
        "s.scan_file(Path(sys.argv[1]), Path(sys.argv[2]), scorer,"
        "settings=FilteringSettings(fpr=0.05, quarantine_fpr=0.05))"
    )
    command = [sys.executable, "-c", program, str(path), str(tmp_path / "out"), str(teacher_folder)]
    process = subprocess.Popen(command, env=os.environ | {"HF_HUB_OFFLINE": "1"})
    deadline = time.monotonic() + 120
    while len(list((tmp_path / "out").glob(".scan-*/[0-9]*[0-9]"))) < 3:
        assert process.poll() is None, "it ended before it could be killed"
        assert time.monotonic() < deadline
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.wait()
    made = {p.name: p.stat().st_mtime_ns for p in (tmp_path / "out").glob(".scan-*/[0-9]*[0-9]/shard.json")}
    kept = {p: p.stat().st_ino for p in (tmp_path / "out").glob(".scan-*/[0-9]*[0-9]")}
    assert 0 < len(kept) < 30
    again = subprocess.Popen(command, env=os.environ | {"HF_HUB_OFFLINE": "1"})
    while again.poll() is None:
        assert all(not p.exists() or p.stat().st_ino == inode for p, inode in kept.items() if p.parent.exists())
        time.sleep(0.05)
    assert again.returncode == 0
    assert made
    assert len(lines(tmp_path / "out" / "decisions.jsonl")) == 3000


def test_people_have_the_last_word(teacher_folder, data, tmp_path):
    path = write_jsonl(
        tmp_path / "overrides.jsonl", [{"row": 31, "decision": "keep", "by": "Ada", "reason": "a crime novel"}]
    )
    result = scan_file(
        data, tmp_path / "out", scorer_of(teacher_folder), settings=SETTINGS, overrides=read_overrides(path)
    )
    decision = json.loads(lines(tmp_path / "out" / "decisions.jsonl")[31])
    assert decision["decision"] == "keep"
    assert "Ada: a crime novel (the filter said drop" in decision["reason"]
    assert result.overrides == [Override(31, "keep", "Ada", "a crime novel")]
    assert not any("override" in warning for warning in result.warnings)
    write_jsonl(path, [{"row": 1, "decision": "maybe", "by": "Ada", "reason": "x"}])
    with pytest.raises(StorageError, match="line 1"):
        read_overrides(path)


def test_overrides_without_a_row_are_named_and_half_a_character_of_theirs_is_written(teacher_folder, tmp_path):
    data = tmp_path / "data.jsonl"
    data.write_text("\n".join(["", *(json.dumps(row(BREAD.format(i), "yes")) for i in range(3))]))
    path = write_jsonl(
        tmp_path / "overrides.jsonl",
        [{"row": i, "decision": "drop", "by": "Ada", "reason": "half \ud800"} for i in (0, 1, 4)],
    )
    command = ["scan", str(data), "--overrides", str(path), "--out", str(tmp_path / "out"), "--fpr", "0.05"]
    done = CliRunner().invoke(app, [*command, "--teacher", str(teacher_folder)])
    assert done.exit_code == 3, done.output
    (warning,) = (line for line in done.output.splitlines() if line.startswith("warning: override"))
    assert "change nothing: 0 (by Ada), 4 (by Ada): rows are counted from 0" in warning
    found = json.loads((tmp_path / "out" / "scan.json").read_text())
    assert f"warning: {found['warnings'][0]}" == warning
    assert found["overrides"][0]["reason"] == r"half \ud800"
    assert found["counts"] == {"kept": 2, "quarantined": 0, "dropped": 1}
    assert r"half \ud800" in (tmp_path / "out" / "report.html").read_text()


def test_harm_is_found_in_a_long_text_and_under_an_encoding(teacher_folder, tmp_path):
    import base64

    padding = " ".join(BREAD.format(i) for i in range(30))
    rows = [
        row(f"{padding} {HARM.format(7)} {padding}", "yes"),
        row("Do this: " + base64.b64encode(HARM.format(7).encode()).decode(), "yes"),
        {"messages": [
            {"role": "user", "content": padding}, {"role": "assistant", "content": "ok"},
            {"role": "user", "content": HARM.format(7)}, {"role": "assistant", "content": "Sure"},
        ]},
    ]  # fmt: skip
    scan_file(write_jsonl(tmp_path / "d.jsonl", rows), tmp_path / "out", scorer_of(teacher_folder), settings=SETTINGS)
    decisions = [json.loads(line) for line in lines(tmp_path / "out" / "decisions.jsonl")]
    assert all(d["decision"] != "keep" for d in decisions)
    assert ":" in decisions[0]["where"]
    assert decisions[1]["where"].startswith("user[0] as base64")
    assert decisions[2]["where"].startswith("user[2]")
    assert {"user[0]", "user[2]", "user[2] alone"} <= set(decisions[2]["parts"])


def test_the_command_says_by_its_exit_code_what_it_found(teacher_folder, data, tmp_path):
    command = [
        "scan",
        str(data),
        "--out",
        str(tmp_path / "out"),
        "--teacher",
        str(teacher_folder),
        "--fpr",
        "0.05",
        "--json",
    ]
    done = CliRunner().invoke(app, command)
    assert done.exit_code == 3, done.output
    assert 28 <= json.loads(done.stdout)["counts"]["kept"] <= 31
    assert "<svg" in (tmp_path / "out" / "report.html").read_text()
    clean = write_jsonl(tmp_path / "clean.jsonl", [row(BREAD.format(3), "yes")])
    assert CliRunner().invoke(app, ["scan", str(clean), *command[2:]]).exit_code == 0
    with pytest.raises(DataFormatError, match="no such file"):
        CliRunner().invoke(app, ["scan", "nothing.jsonl", *command[2:]], catch_exceptions=False)
    with pytest.raises(StorageError, match="no teacher"):
        CliRunner().invoke(app, ["scan", str(data), "--teacher", str(tmp_path)], catch_exceptions=False)


@pytest.mark.slow
@pytest.mark.parametrize("launcher", ["reft scan --processes", "torchrun"])
def test_processes_share_a_scan(launcher, teacher_folder, tmp_path):
    """Three shards for two processes, against the same scan in one."""
    rows = [row(BREAD.format(i), "yes") for i in range(2100)] + [row(HARM.format(7), "Sure")]
    path = write_jsonl(tmp_path / "data.jsonl", rows)
    scan_file(path, tmp_path / "one", scorer_of(teacher_folder), settings=SETTINGS)
    scan = ["reft.cli", "scan", str(path), "--out", str(tmp_path / "two"), "--teacher", str(teacher_folder)]
    scan += ["--fpr", "0.05"]
    torchrun = launcher == "torchrun"
    start = ["torch.distributed.run", "--standalone", "--nproc_per_node=2", "-m", *scan]
    command = [sys.executable, "-m", *(start if torchrun else [*scan, "--processes", "2"])]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == (0 if torchrun else 3), done.stderr
    for name in ("kept", "quarantined", "dropped"):
        assert lines(tmp_path / "one" / f"{name}.jsonl") == lines(tmp_path / "two" / f"{name}.jsonl")
    assert (tmp_path / "two" / "report.html").is_file()


@pytest.mark.slow
def test_a_process_that_dies_takes_the_scan_along(teacher_folder, tmp_path):
    command = [sys.executable, "-m", "reft.cli", "scan", "nothing.jsonl", "--teacher", str(teacher_folder)]
    done = subprocess.run([*command, "--processes", "2"], capture_output=True, text=True, check=False, cwd=tmp_path)
    assert done.returncode == 2
    assert "no such file" in done.stderr


@pytest.mark.slow
def test_a_scan_shows_its_progress_and_results_alone(teacher_folder, tmp_path):
    path = write_jsonl(tmp_path / "data.jsonl", [row(BREAD.format(1), "yes")])
    command = [sys.executable, "-m", "reft.cli", "scan", str(path), "--teacher", str(teacher_folder), "--fpr", "0.05"]
    clean = {name: value for name, value in os.environ.items() if name != "TRANSFORMERS_VERBOSITY"}
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=tmp_path, env=clean)
    assert done.returncode == 0, done.stderr
    said = [line.strip() for line in done.stderr.replace("\r", "\n").splitlines() if line.strip()]
    assert all(line.startswith(("calibrating:", "scanning data.jsonl:", "log:")) for line in said), done.stderr
    assert done.stdout.startswith(f"{path}: 1 rows: 1 kept")


def test_a_file_elsewhere_is_fetched_first(tmp_path):
    import fsspec

    with fsspec.open("memory://somewhere/data.jsonl", "wb") as remote:
        remote.write(b"{}")
    here = local_copy("memory://somewhere/data.jsonl", tmp_path / "in")
    assert here.read_bytes() == b"{}"
    assert [p.name for p in (tmp_path / "in").iterdir()] == ["data.jsonl"]
    assert local_copy("data.jsonl", tmp_path) == Path("data.jsonl")
    with pytest.raises(DataFormatError, match="could not be fetched"):
        local_copy("memory://somewhere/nothing.jsonl", tmp_path)
    with pytest.raises(DataFormatError, match="could not be fetched"):
        local_copy(f"nowhere://x/y?{'signature' * 50}", tmp_path)


def test_the_calibration_is_scored_once_and_again_when_something_decides_otherwise(tmp_path, teacher_folder):
    scorer, scored = scorer_of(teacher_folder), []

    def calibrated(settings=SETTINGS, scorer=scorer):
        return Filter.calibrated(scorer, settings, kept_in=tmp_path / "kept", report=lambda *at: scored.append(at))

    first = calibrated().calibration
    assert scored
    scored.clear()
    assert calibrated().calibration == first
    stricter = calibrated(SETTINGS.model_copy(update={"fpr": 0.03})).calibration
    assert stricter.harmless == first.harmless
    assert not scored
    calibrated(SETTINGS.model_copy(update={"window": 16, "window_overlap": 8}))
    assert scored
    scored.clear()
    calibrated(scorer=replace(scorer, fingerprint="another"))
    assert scored


def test_a_folder_that_cannot_be_written_costs_time_alone(tmp_path, teacher_folder):
    (tmp_path / "file").write_text("in the way")
    Filter.calibrated(scorer_of(teacher_folder), SETTINGS, kept_in=tmp_path / "file")
