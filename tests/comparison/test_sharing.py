"""Several processes on one folder: each takes cells that no other has in hand, and a killed one's are taken over."""

import subprocess
import sys
import time

import pytest

from reft.comparison.grid import Grid, cells
from reft.comparison.settings import ComparisonSettings

# The grid's own run; the one who is told to hang never comes back from its first training.
RUN = """
import os, sys, time
from pathlib import Path
import reft.comparison.cell as cell
import reft.comparison.teachers as teachers
from reft.comparison.grid import Grid
from reft.comparison.settings import ComparisonSettings

folder, hangs = Path(sys.argv[1]), len(sys.argv) > 2
def noted(what, function):
    def call(*args, **options):
        with (folder / "log").open("a") as log:
            log.write(f"{what} {'first' if hangs else 'second'}\\n")
        while hangs and what == "cell":
            time.sleep(1)
        return function(*args, **options)
    return call
cell.fit_student = noted("cell", cell.fit_student)
teachers.make_teacher = noted("teacher", teachers.make_teacher)
grid = ComparisonSettings.model_validate_json((folder / "grid.json").read_text())
Grid(grid, folder / "out").run()
"""


@pytest.mark.slow
@pytest.mark.night
def test_processes_share_the_cells_and_take_over_what_one_leaves_behind(small, tmp_path):
    grid = ComparisonSettings(**{**small.model_dump(), "methods": ["reft", "sft"], "ablations": {}})
    (tmp_path / "grid.json").write_text(grid.model_dump_json())
    (tmp_path / "log").touch()
    everything = list(cells(grid))

    def start(*options):
        return subprocess.Popen([sys.executable, "-c", RUN, str(tmp_path), *options])

    def seen(line, times):
        for _ in range(600):
            if (tmp_path / "log").read_text().splitlines().count(line) >= times:
                return
            assert running[-1].poll() is None
            time.sleep(0.2)
        raise AssertionError((tmp_path / "log").read_text())

    running = [start("hang")]
    try:
        seen("cell first", 1)
        running.append(start())
        seen("cell second", len(everything) - 1)
        time.sleep(2)  # all that is left is in the first one's hands
        assert running[1].poll() is None
        running[0].kill()
        assert running[1].wait(120) == 0
    finally:
        for process in running:
            process.kill()
    assert len(Grid(grid, tmp_path / "out").finished()) == len(everything)
    said = (tmp_path / "log").read_text().splitlines()
    assert said == ["teacher first", "cell first"] + ["cell second"] * len(everything)
