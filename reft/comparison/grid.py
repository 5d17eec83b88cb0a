"""Running the grid: each cell once, its result kept under the fingerprint of all that made it."""

import sys
from collections.abc import Generator, Iterator, Sequence
from contextlib import contextmanager
from functools import cache, cached_property
from itertools import product
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from reft.comparison.attacker import IN_THEIR_FORM
from reft.comparison.cell import Cell, CellInputs, answers_of, with_changes
from reft.comparison.settings import ComparisonSettings
from reft.comparison.tasks import DEFAULT, Task, default_task, draw, files_of, more_poison, public_task
from reft.comparison.teachers import Teachers
from reft.comparison.variants import variants
from reft.config import FinetuningSettings, Settings
from reft.errors import ConfigurationError, DataValidationError, TrainingError, explain
from reft.evaluation.measures import outcomes
from reft.evaluation.questions import evaluation_sets
from reft.finetuning.methods import load_method, require_fitting
from reft.judges import Judge
from reft.judges.refusal_matcher import complies
from reft.keys.closure import digest_of_code
from reft.keys.stages import method_part, scorer_parts
from reft.models.default_model import resolve_model
from reft.models.memory import collect_garbage
from reft.runtime.progress import progress
from reft.storage.artifacts import read_json, scratch, write_json, write_text
from reft.storage.fingerprint import of_path, of_text
from reft.teacher.preparation import start_model


def cells(grid: ComparisonSettings) -> Iterator[Cell]:
    """All cells, one seed after another, so that a grid that is stopped has whole seeds."""
    chosen = variants(grid.methods, grid.filtered)
    for seed in grid.seeds:
        for task in grid.tasks:
            for ratio in grid.poison_ratios:
                yield from (
                    Cell(method=method, filtered=front, task=task, poison_ratio=ratio, seed=seed)
                    for method, front in chosen
                )
    for seed in grid.ablation_seeds:
        for key, values in grid.ablations.items():
            for value in values:
                yield Cell(
                    method="reft",
                    filtered=True,
                    task=grid.tasks[0],
                    poison_ratio=grid.ablation_poison_ratio,
                    seed=seed,
                    changed=((key, value),),
                )


class Grid:
    """A grid and the folder of its results.

    Args:
        folder: one JSON file a finished cell, and the teachers, so that a killed grid resumes. Processes
            that share the folder, one a GPU or core, share the cells.

    Raises:
        ConfigurationError: there is no such method or setting: raised before hours have passed.
        DataValidationError: a task that is not there, or has too few rows.
    """

    def __init__(self, grid: ComparisonSettings, folder: Path) -> None:
        self.grid, self.folder = grid, folder
        self.teachers = Teachers(folder / "teachers")
        self._tasks: dict[str, Task] = {}
        self._paths: dict[str, Path] = {}
        self._digest = cache(of_path)  # a model of gigabytes is read once, not for each ablation
        for name, _ in variants(grid.methods, (False,)):
            require_fitting(grid.run.finetuning.for_method(name, grid.method_settings.get(name)))
        for name, ratio, seed in product(grid.tasks, grid.poison_ratios, grid.seeds):
            draw(self._task(name), grid.user_rows, ratio, seed=seed)
        _require_comparable(grid.run)
        for key, values in grid.ablations.items():
            for value in values:
                _require_comparable(with_changes(grid.run, ((key, value),)))

    def finished(self) -> list[dict[str, Any]]:
        """The results that are there, in the grid's order: for a look at a grid that still runs, or was stopped."""
        return [read_json(path) for path in map(self._path, cells(self.grid)) if path.is_file()]

    def failures(self) -> list[str]:
        """What is known of the cells that could not be trained, in the grid's order."""
        marks = [_failed(self._path(cell)) for cell in cells(self.grid)]
        return [f"{mark.read_text()} (remove {mark} to try again)" for mark in marks if mark.is_file()]

    def run(self) -> list[dict[str, Any]]:
        """Every cell's result, those of an earlier run or of another process read back; in the grid's order.

        A cell that cannot be trained is left out; `failures` tells of it.
        """
        everything = list(cells(self.grid))
        show = progress("comparison")
        # First what no other process is at, then the rest: it waits for the others, and does what one has left behind.
        for patient in (False, True):
            for cell in everything:
                if not self._over(cell):
                    self._take(cell, patient)
                    show(sum(map(self._over, everything)), len(everything), cell.name)
        return self.finished()

    def _take(self, cell: Cell, patient: bool) -> None:
        """Make the cell's result, unless another process has it in hand; a patient one waits for that process."""
        path = self._path(cell)
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            held = FileLock(path.with_suffix(".lock")).acquire(blocking=patient)
        except Timeout:
            return
        with held:
            if self._over(cell):
                return
            try:
                write_json(path, self._result(cell))
            except (TrainingError, DataValidationError, ConfigurationError) as error:  # other cells are none the worse
                write_text(_failed(path), f"{cell.name} on {cell.task}, seed {cell.seed}: {error}")
                print(error, file=sys.stderr)
            collect_garbage()

    def _result(self, cell: Cell) -> dict[str, Any]:
        run = with_changes(self.grid.run, cell.changed)
        task, prepared = self._task(cell.task), self.teachers.of(run)
        with self._adapter_folder(cell) as adapter:
            # A folder of its own: where a filter removes nothing, two cells are the same job, and two processes at it.
            work = self.folder / "work" / self._path(cell).stem
            given = CellInputs(
                run=run, task=task, user_rows=self.grid.user_rows, prepared=prepared, adapter=adapter,
                work=work, poison_hides=self.grid.poison_hides,
                options=self.grid.method_settings.get(cell.method, {}),
            )  # fmt: skip
            result = answers_of(cell, given)
        return {**result, "adapter": str(adapter) if self._keeps_adapter(cell) else None}

    def _over(self, cell: Cell) -> bool:
        path = self._path(cell)
        return path.is_file() or _failed(path).is_file()

    def _path(self, cell: Cell) -> Path:
        """Where the cell's result lies; asked again and again while the grid runs, and told from memory."""
        name = repr(cell)  # a changed setting may be a list, which is no key of a dictionary
        if name not in self._paths:
            self._paths[name] = self.folder / "cells" / f"{self._key(cell)}.json"
        return self._paths[name]

    def _key(self, cell: Cell) -> str:
        """A digest of everything that decides the cell's result."""
        run = with_changes(self.grid.run, cell.changed)
        files = [self._digest(path) for _, path in run.data if isinstance(path, str)]
        models = [self._digest(path) for path in (resolve_model(run.model.name), start_model(run.model))]
        parts = [repr(cell), run.model_dump_json(), str(self.grid.user_rows), *files, *models]
        parts += [self._digest(run.model.chat_template), self._task_files[cell.task]]
        parts.append(str(self.grid.method_settings.get(cell.method, {})))
        # An adapter is written before its result: where that is there and kept adapters are part of the key, so is it.
        parts.append(str(self._keeps_adapter(cell)))
        parts += ["the poison hides"] if self.grid.poison_hides else []
        # Of its own method and scorer alone: a new method leaves the others' results as they are.
        own = (method_part(cell.method), *scorer_parts(run.filtering))
        return of_text(*parts, digest_of_code("reft.comparison.cell", own))

    def _keeps_adapter(self, cell: Cell) -> bool:
        return self.grid.keep_adapters and load_method(cell.method).loss is not None

    @cached_property
    def _task_files(self) -> dict[str, str]:
        public = Path(self.grid.public_data or "")
        return {name: of_text(*map(of_path, files_of(name, public))) for name in self.grid.tasks}

    def _task(self, name: str) -> Task:
        """A task's rows, read once."""
        if name not in self._tasks:
            shipped = default_task(self.grid.run.data)
            folder = Path(self.grid.public_data or "")
            self._tasks[name] = (
                shipped if name == DEFAULT else public_task(name, folder, [*shipped.poisoned, *more_poison(folder)])
            )
        return self._tasks[name]

    def judged(self, results: Sequence[dict[str, Any]], judges: Sequence[Judge]) -> list[dict[str, Any]]:
        """The results with `asked`, the questions in the order of the answers, and `rows`, what is counted of each."""
        judged = []
        for result in results:
            run = with_changes(self.grid.run, result["changed"])
            asked = evaluation_sets(run.data, run.evaluation, self._task(result["task"]).test)
            rows = outcomes(asked, result["answers"], judges)
            if IN_THEIR_FORM in result["answers"]:
                rows[IN_THEIR_FORM] = [complies(answer) for answer in result["answers"][IN_THEIR_FORM]]
            judged.append({**result, "asked": asked, "rows": rows})
        return judged

    @contextmanager
    def _adapter_folder(self, cell: Cell) -> Generator[Path]:
        """Where the cell's adapter is written: beside its result if adapters are kept."""
        if self._keeps_adapter(cell):
            yield self._path(cell).with_suffix("")
            return
        with scratch("cell") as folder:
            yield folder


def _failed(path: Path) -> Path:
    """Where it is noted that a cell cannot be trained, and why: beside its result's place."""
    return path.with_suffix(".failed")


def _require_comparable(run: Settings) -> None:
    """Refuse what the cells could not share: all train adapters, distil what was stored once, and name their method."""
    if run.finetuning.lora is None or run.finetuning.merged:
        what = "the comparison is of adapters"
        remedy = "leave finetuning.lora set and finetuning.merged off"
        raise ConfigurationError(explain(what, "finetuning.lora", remedy))
    if run.finetuning.distillation != "stored":
        what = "the comparison distils stored soft labels"
        raise ConfigurationError(explain(what, "finetuning.distillation", "leave it at stored"))
    plain = FinetuningSettings()
    if (run.finetuning.method, run.finetuning.method_settings) != (plain.method, plain.method_settings):
        what, remedy = "a cell's method is its own", "name methods under methods and method_settings"
        raise ConfigurationError(explain(what, "finetuning.method", remedy))
