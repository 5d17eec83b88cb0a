"""A folder of results is replaced whole or not at all."""

import errno
import os
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from reft.errors import StorageError
from reft.storage.folders import OLD, put_back, replaced_folder


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def fill(folder, text):
    with replaced_folder(folder) as fresh:
        for name in ("a", "b"):
            (fresh / name).write_text(text)


def write_to_a_full_disk(folder):
    os.symlink("/dev/full", folder / "a")
    (folder / "a").write_text("new")


def test_the_new_folder_takes_the_old_ones_place(tmp_path):
    (tmp_path / "latest").mkdir()
    (tmp_path / "latest" / "old").touch()
    fill(tmp_path / "latest", "new")
    assert names(tmp_path) == ["latest"]
    assert names(tmp_path / "latest") == ["a", "b"]
    plain = tmp_path / "plain"
    plain.mkdir()
    assert (tmp_path / "latest").stat().st_mode == plain.stat().st_mode


def test_a_failure_leaves_the_old_folder_as_it_was(tmp_path):
    fill(tmp_path / "latest", "old")
    with pytest.raises(ZeroDivisionError), replaced_folder(tmp_path / "latest") as fresh:
        (fresh / "half").write_text(str(1 / 0))
    assert names(tmp_path) == ["latest"]
    assert (tmp_path / "latest" / "a").read_text() == "old"


def test_a_full_disk_is_named_and_leaves_the_old_folder(tmp_path):
    fill(tmp_path / "latest", "old")
    with pytest.raises(StorageError, match="No space left"), replaced_folder(tmp_path / "latest") as fresh:
        write_to_a_full_disk(fresh)
    assert (tmp_path / "latest" / "a").read_text() == "old"


def test_of_many_at_once_one_stays_whole(tmp_path):
    with ThreadPoolExecutor(16) as threads:
        for done in [threads.submit(fill, tmp_path / "latest", str(i)) for i in range(64)]:
            done.result()
    assert names(tmp_path) == ["latest"]
    assert (tmp_path / "latest" / "a").read_text() == (tmp_path / "latest" / "b").read_text()


def test_what_somebody_put_beside_it_stays(tmp_path):
    (tmp_path / ".latest-before-the-audit").mkdir()
    fill(tmp_path / "latest", "new")
    assert names(tmp_path) == [".latest-before-the-audit", "latest"]


def test_told_to_end_between_putting_the_old_aside_and_the_new_in_place_the_old_comes_back(tmp_path, monkeypatch):
    fill(tmp_path / "latest", "old")
    rename = os.rename

    def told(source, goal):
        if Path(goal).name == "latest":
            raise KeyboardInterrupt
        rename(source, goal)

    with monkeypatch.context() as patch:
        patch.setattr(os, "rename", told)
        with pytest.raises(KeyboardInterrupt):
            fill(tmp_path / "latest", "new")
    put_back(tmp_path / "latest")
    assert names(tmp_path) == ["latest"]
    assert (tmp_path / "latest" / "a").read_text() == "old"


def test_killed_between_putting_the_old_aside_and_the_new_in_place_the_old_comes_back(tmp_path):
    fill(tmp_path / "latest", "old")
    (tmp_path / "latest").rename(tmp_path / f"{OLD}latest-0")
    with pytest.raises(ZeroDivisionError), replaced_folder(tmp_path / "latest") as fresh:
        (fresh / "half").write_text(str(1 / 0))
    assert names(tmp_path) == ["latest"]
    assert (tmp_path / "latest" / "a").read_text() == "old"


def test_without_locks_nothing_stays_either(tmp_path, monkeypatch):
    def refuse(*_):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr("fcntl.flock", refuse)
    fill(tmp_path / "latest", "new")
    assert names(tmp_path) == ["latest"]


KILLED = """
import os, signal, sys
from pathlib import Path
from reft.storage.folders import replaced_folder
with replaced_folder(Path(sys.argv[1])) as fresh:
    (fresh / "half").touch()
    os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.mark.slow
def test_what_a_killed_process_left_goes_with_the_next(tmp_path):
    folder = tmp_path / "latest"
    fill(folder, "old")
    done = subprocess.run([sys.executable, "-c", KILLED, str(folder)], check=False, cwd=Path.cwd())
    assert done.returncode == -signal.SIGKILL
    assert len(names(tmp_path)) == 2
    assert (folder / "a").read_text() == "old"
    fill(folder, "new")
    assert names(tmp_path) == ["latest"]
    assert (folder / "a").read_text() == "new"
