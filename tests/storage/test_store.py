"""Whose fault an error is: the store's, or that of whoever reads from it."""

import errno
import os

import pytest

from reft.errors import StorageError
from reft.storage.store import Store


@pytest.fixture
def store(tmp_path):
    made = Store(str(tmp_path / "store"))
    made.write("rows.jsonl", b"one\ntwo\nthree\n")
    return made


def test_a_file_is_read_from_a_place_on_line_by_line(store):
    with store.opened("rows.jsonl", 4) as file:
        assert list(file) == [b"two\n", b"three\n"]


@pytest.mark.parametrize("error", [OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)), ValueError("a row of mine")])
def test_what_goes_wrong_beside_reading_is_not_the_stores(store, error):
    with pytest.raises(type(error)) as seen, store.opened("rows.jsonl"):
        raise error
    assert seen.value is error


def test_an_error_in_reading_is(store, monkeypatch):
    def broken(*_):
        raise TimeoutError("no answer")

    with store.opened("rows.jsonl") as file:
        monkeypatch.setattr(type(file.raw._file), "read", broken, raising=False)
        with pytest.raises(StorageError, match=r"the store does not answer[\s\S]*rows\.jsonl"):
            file.read()


def test_a_copy_that_cannot_be_written_is_no_fault_of_the_store(store, tmp_path):
    (tmp_path / "copies").mkdir()
    (tmp_path / "copies" / "rows.jsonl").mkdir()  # a folder where the copy is to be
    with pytest.raises(IsADirectoryError):
        store.get("rows.jsonl", tmp_path / "copies" / "rows.jsonl")
