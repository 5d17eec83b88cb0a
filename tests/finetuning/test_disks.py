"""Full and read-only disks: an error that names the folder and the remedy, nothing lost, and the next start works.

The disks are small real ones in memory, which only an administrator may mount.
"""

import shutil
import subprocess
from pathlib import Path

import pytest

from reft.errors import StorageError
from reft.finetuning.job import job_folder
from reft.finetuning.launch import run_finetune
from tests.finetuning.night import Night, wait_for


@pytest.fixture
def disk(tmp_path):
    """Two megabytes."""
    folder = tmp_path / "disk"
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=2m", "none", str(folder)]
    if not shutil.which("mount") or subprocess.run(command, capture_output=True).returncode:
        pytest.skip("mounting a disk needs an administrator")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


def fill(folder: Path) -> Path:
    """Not a byte is left."""
    filler = folder / "filler"
    with filler.open("wb", buffering=0) as file:
        for size in (1 << 16, 1 << 10, 1):
            try:
                while True:
                    file.write(bytes(size))
            except OSError:
                continue
    return filler


def make_read_only(folder: Path) -> None:
    subprocess.run(["mount", "-o", "remount,ro", str(folder)], check=True)


@pytest.mark.slow
@pytest.mark.parametrize(("trouble", "words"), [(fill, "No space left"), (make_read_only, "Read-only file system")])
def test_before_a_training_begins(job, disk, trouble, words, tmp_path, monkeypatch):
    (disk / "job").mkdir()
    trouble(disk)
    with pytest.raises(StorageError, match=rf"{words}[\s\S]*{disk}[\s\S]*free some disk space"):
        run_finetune(job, disk / "job")
    assert not list((disk / "job").iterdir())
    monkeypatch.setattr("tempfile.tempdir", str(disk))
    with (
        pytest.raises(StorageError, match=rf"{words}[\s\S]*{disk}[\s\S]*free some disk space"),
        job_folder(job, tmp_path / "work"),
    ):
        pass
    assert not list(disk.glob("reft-*"))


@pytest.mark.slow
def test_no_folder_for_jobs(job, disk):
    make_read_only(disk)
    for root in (disk / "work", disk / "a" / "b"):
        with (
            pytest.raises(StorageError, match=r"Read-only file system[\s\S]*disk/[\s\S]*finetuning\.work_folder"),
            job_folder(job, root),
        ):
            pass


def test_a_file_in_the_place_of_the_folder_for_jobs(job, tmp_path):
    (tmp_path / "file").touch()
    for root in (tmp_path / "file", tmp_path / "file" / "work"):
        with (
            pytest.raises(StorageError, match=r"Not a directory[\s\S]*file[\s\S]*finetuning\.work_folder"),
            job_folder(job, root),
        ):
            pass


@pytest.mark.slow
@pytest.mark.parametrize("place", ["work", pytest.param("tmp", marks=pytest.mark.night)])
def test_full_in_the_middle_of_a_training(long, undisturbed, disk, tmp_path, place):
    night = Night(tmp_path)
    (tmp_path / place).symlink_to(disk)
    process = night.start(long)
    wait_for(lambda: night.steps() >= 5)
    filler = fill(disk)
    said = process.communicate(timeout=120)[1]
    assert "No space left on device" in said
    assert "free some disk space" in said
    assert str(tmp_path / place) in said
    assert "Traceback" not in said
    assert not night.processes()
    filler.unlink()
    assert list((tmp_path / "work").glob("*/checkpoints/newest.json"))
    assert "error" not in night.run(long)
    assert (night.left(), night.processes()) == ([], [])
    assert night.result() == undisturbed
