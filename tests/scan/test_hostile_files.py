"""What is no file of rows is refused by a scan before it writes a decision for each line."""

import gzip
import os
import resource
import socket

import pytest

from reft.config import FilteringSettings, ValidationSettings
from reft.errors import DataFormatError, StorageError
from reft.filtering.inputs import read_inputs
from reft.filtering.scorers import load_scorer
from reft.scan import scan as module
from reft.scan.scan import scan_file
from tests.factories import build_scorer

SETTINGS = FilteringSettings(fpr=0.05, quarantine_fpr=0.05)


@pytest.fixture(scope="module")
def scorer(tiny_model, tmp_path_factory):
    return load_scorer("refusal_feature", read_inputs(build_scorer(tmp_path_factory.mktemp("scorer"), tiny_model)))


@pytest.mark.parametrize("content", [b"\n" * 5000, b"[]", b"prompt,completion\n"])
def test_a_file_without_rows_is_refused_and_leaves_nothing(scorer, tmp_path, content):
    (tmp_path / "rows").write_bytes(content)
    with pytest.raises(DataFormatError, match=r"(?s)no rows.*give at least one row"):
        scan_file(tmp_path / "rows", tmp_path / "out", scorer, settings=SETTINGS)
    assert [path.name for path in tmp_path.iterdir()] == ["rows"]


def test_of_what_expands_too_far_no_copy_stays(scorer, tmp_path):
    (tmp_path / "rows").write_bytes(
        gzip.compress((b'{"prompt": "a", "completion": "b"}\n' + b"x" * (1 << 20) + b"\n") * 17)
    )
    with pytest.raises(DataFormatError, match=r"validation\.max_expansion"):
        scan_file(tmp_path / "rows", tmp_path / "out", scorer, settings=SETTINGS)
    assert [path.name for path in tmp_path.iterdir()] == ["rows"]

    limits = ValidationSettings(max_expansion=100_000)
    assert scan_file(tmp_path / "rows", tmp_path / "out", scorer, settings=SETTINGS, limits=limits).rows == 34


def test_a_folder_that_cannot_be_written_is_explained_and_leaves_nothing(scorer, tmp_path):
    (tmp_path / "rows.csv").write_text("prompt,completion\na,b\n")
    (tmp_path / "out").touch()
    with pytest.raises(StorageError, match=r"(?s)could not write.*choose another folder"):
        scan_file(tmp_path / "rows.csv", tmp_path / "out", scorer, settings=SETTINGS)
    assert {path.name for path in tmp_path.iterdir()} == {"rows.csv", "out"}


@pytest.mark.parametrize("room", [3 << 10, 0])
def test_a_copy_that_finds_no_room_is_explained_and_goes(scorer, tmp_path, room):
    (tmp_path / "rows.csv").write_text("prompt,completion\n" + "a,b\n" * 5000)
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (room, before[1]))
    try:
        with pytest.raises(StorageError, match=r"(?s)could not write.*free some disk space"):
            scan_file(tmp_path / "rows.csv", tmp_path / "out", scorer, settings=SETTINGS)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert not (tmp_path / "out").exists()


def test_lines_that_are_no_rows_get_no_decisions_one_by_one(scorer, tmp_path, monkeypatch):
    monkeypatch.setattr(module, "TOO_MANY_UNREADABLE", 100)
    path = tmp_path / "rows.jsonl"
    path.write_bytes(b'{"prompt": "a", "completion": "b"}\n' * 149 + b"x\n" * 150)
    with pytest.raises(DataFormatError, match=r"(?s)more than half of the 299 rows cannot be read.*reft validate"):
        scan_file(path, tmp_path / "out", scorer, settings=SETTINGS)
    assert not (tmp_path / "out").exists()
    path.write_bytes(b'{"prompt": "a", "completion": "b"}\n' * 150 + b"x\n" * 150)
    assert scan_file(path, tmp_path / "out", scorer, settings=SETTINGS).counts["quarantined"] >= 150


def fifo(path):
    os.mkfifo(path)
    return path


def a_socket(path):
    server = socket.socket(socket.AF_UNIX)
    server.bind(str(path))
    server.close()
    return path


@pytest.mark.parametrize(("make", "kind"), [(fifo, "a pipe"), (a_socket, "a socket"), (lambda _: None, "a device")])
def test_what_never_ends_is_told_by_what_it_is(scorer, tmp_path, monkeypatch, make, kind):
    monkeypatch.chdir(tmp_path)  # a socket's path is short
    path = make(tmp_path.joinpath("s").relative_to(tmp_path)) or tmp_path.joinpath("/dev/zero")
    with pytest.raises(DataFormatError, match=f"(?s){kind}, not a file.*{path}.*write into one first"):
        scan_file(path, tmp_path / "out", scorer, settings=SETTINGS)
    assert not (tmp_path / "out").exists()
