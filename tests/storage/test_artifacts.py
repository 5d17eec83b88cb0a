"""Files that are whole or not there."""

import pytest

from reft.errors import StorageError
from reft.storage.artifacts import read_json, write_json


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
    ],
)
def test_a_file_that_cannot_be_read_is_told_in_words_of_its_reader(tmp_path, content, said, remedy):
    path = tmp_path / "a.json"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(StorageError) as error:
        read_json(path)
    assert str(error.value).startswith(f"{said}\n  where: {path}\n  remedy: {remedy}")
