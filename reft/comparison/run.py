"""The whole of it: run a grid, or look at what is there, and write everything that is shown of it."""

from pathlib import Path

from filelock import FileLock

from reft.comparison.grid import Grid, cells
from reft.comparison.harness_format import write_harness, write_questions
from reft.comparison.page import write_comparison
from reft.comparison.panel import load_panel, require_judges
from reft.comparison.settings import read_comparison_settings
from reft.errors import ConfigurationError, TrainingError, explain


def run_comparison(config: Path, folder: Path, so_far: bool = False) -> None:
    """Run the grid of a YAML file, or with `so_far` take what is there, and write its pages into the folder.

    Raises:
        ConfigurationError: the grid cannot be read, names what is not there, or has no finished cell yet.
        TrainingError: some cells could not be trained; the page of all others is written.
    """
    settings = read_comparison_settings(config)
    require_judges(settings)
    grid = Grid(settings, folder)
    if not so_far:
        grid.run()
    folder.mkdir(parents=True, exist_ok=True)
    with FileLock(folder / "page.lock"):  # one of the processes that share the folder after another
        results = grid.finished()
        if not results:
            raise ConfigurationError(explain("no cell of this grid is finished", str(folder), "leave --so-far away"))
        panel = load_panel(settings, folder / "verdicts")
        judged = grid.judged(results, panel.judges)
        write_comparison(folder, settings, judged, panel=panel, planned=len(list(cells(settings))))
        write_harness(folder / "harness", judged)
        write_questions(folder / "harness_tasks", judged)
    if failures := grid.failures():
        remedy = "the page shows all other cells"
        raise TrainingError(explain("cells that could not be trained", "; ".join(failures), remedy))
