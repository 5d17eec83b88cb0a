"""Files that are whole or not there."""

import errno
import os
from pathlib import Path

import pytest

from reft.errors import StorageError
from reft.storage.artifacts import SCRATCH, read_json, scratch, write_json, write_text, written
from reft.storage.fingerprint import of_path, of_text


def test_a_full_disk_is_an_error_that_names_the_file_and_leaves_nothing_behind(tmp_path, monkeypatch):
    def full(*_args, **_kwargs):
        raise OSError(28, "No space left on device")

    write_json(tmp_path / "a.json", {"old": 1})
    monkeypatch.setattr("pathlib.Path.write_text", full)
    with pytest.raises(StorageError, match=r"No space left on device\n.*a\.json"):
        write_json(tmp_path / "a.json", {"new": 1})
    monkeypatch.undo()
    assert read_json(tmp_path / "a.json") == {"old": 1}
    assert [p.name for p in tmp_path.iterdir()] == ["a.json"]


@pytest.mark.parametrize(
    ("content", "said", "remedy"),
    [
        (None, "no such file", "is this the folder that was meant?"),
        (b"{\n", "could not be read: damaged, or not written by reft (not JSON from line 2)", "name another folder"),
        (b"\xff", "could not be read: damaged, or not written by reft (not UTF-8 text)", "name another folder"),
        (b"[" * 5000, "could not be read: damaged, or not written by reft (nested too deeply)", "name another folder"),
        (
            b"9" * 5000,
            "could not be read: damaged, or not written by reft (a number of too many digits)",
            "name another folder",
        ),
    ],
)
def test_a_file_that_cannot_be_read_is_told_in_words_of_its_reader(tmp_path, content, said, remedy):
    path = tmp_path / "a.json"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(StorageError) as error:
        read_json(path)
    assert str(error.value).startswith(f"{said}\n  where: {path}\n  remedy: {remedy}")


def test_a_device_in_place_of_an_artifacts_file_is_told(tmp_path):
    (tmp_path / "a.json").symlink_to("/dev/null")
    with pytest.raises(StorageError, match=r"could not be read: a device, not a file\n  where: .*a\.json"):
        read_json(tmp_path / "a.json")


def test_scratch_folders_of_the_dead_go_and_those_of_the_living_stay(tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    (tmp_path / f"{SCRATCH}killed" / "half").mkdir(parents=True)
    (tmp_path / "reft-of-somebody-else").mkdir()
    with scratch("first") as first, scratch("second") as second:
        (first / "some").write_text("thing")
        assert sorted(tmp_path.iterdir()) == sorted([first, second, tmp_path / "reft-of-somebody-else"])
        assert (first / "some").read_text() == "thing"
    assert [path.name for path in tmp_path.iterdir()] == ["reft-of-somebody-else"]


def test_only_what_is_about_the_disk_becomes_an_error_about_it(tmp_path):
    with pytest.raises(FileNotFoundError), written(tmp_path):
        Path("no such file").read_text()
    with pytest.raises(RuntimeError, match="something else"), written(tmp_path):
        raise RuntimeError("something else")
    elsewhere = OSError(errno.ENOSPC, "No space left on device", str(tmp_path / "other" / "x.so"))
    with pytest.raises(StorageError, match=r"No space left[\s\S]*where: .*other\n[\s\S]*choose another folder"):  # noqa: SIM117
        with written(tmp_path / "work", "buy another"):
            raise elsewhere
    (tmp_path / "file").touch()
    with pytest.raises(StorageError, match=r"Not a directory[\s\S]*file[\s\S]*remedy: buy another"):  # noqa: SIM117
        with written(tmp_path / "file", "buy another"):
            raise RuntimeError("in a library's own words")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="a device of Linux")
def test_a_full_device_is_named(tmp_path):
    with pytest.raises(StorageError, match=r"No space left on device[\s\S]*free some disk space"), written(tmp_path):
        Path("/dev/full").write_text("anything")


def test_half_a_character_is_written_and_read_back_by_json(tmp_path):
    value = {"\ud800": ['"\\\udc80"', "whole \U0001f600"]}
    write_json(tmp_path / "a.json", value)
    assert read_json(tmp_path / "a.json") == value
    write_text(tmp_path / "page.html", "half \ud800")
    assert (tmp_path / "page.html").read_bytes() == b"half \\ud800"


def test_half_a_character_has_a_digest_of_its_own(tmp_path):
    assert len({of_text("\ud800"), of_text("\\ud800"), of_text("?"), of_text("\udc80")}) == 4
    (tmp_path / os.fsdecode(b"caf\xe9.jsonl")).write_text("{}")
    before = of_path(tmp_path)
    (tmp_path / os.fsdecode(b"caf\xe9.jsonl")).rename(tmp_path / os.fsdecode(b"caf\xe8.jsonl"))
    assert of_path(tmp_path) != before
