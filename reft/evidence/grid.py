"""Running the grid: each cell once, its result kept under the fingerprint of all that made it."""

import tempfile
from collections.abc import Generator, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from reft.artifacts import read_json, write_json
from reft.config import Settings, parse_settings
from reft.conversations.schema import Conversation
from reft.conversations.tokenization import encode_all, encode_prompts
from reft.cost import Cost, measured
from reft.distillation.job import FinetuneJob
from reft.evaluation.asking import ask, evaluation_sets
from reft.evidence.judging import Judge
from reft.evidence.methods import METHODS, label, variants
from reft.evidence.outcomes import outcomes
from reft.evidence.settings import EvidenceSettings
from reft.evidence.tasks import DEFAULT, Task, UserRows, default_task, draw, more_poison, public_task
from reft.evidence.teachers import Prepared, Teachers
from reft.evidence.training import train
from reft.fingerprint import of_code, of_path, of_text
from reft.models.default_model import resolve_model
from reft.models.hardware import choose_hardware
from reft.models.loading import load_model, load_tokenizer, load_trained
from reft.models.memory import collect_garbage
from reft.progress import progress

# What decides a cell's answers; how they are judged or shown does not.
CODE = (
    *(f"conversations/{name}" for name in ("batching", "completions", "schema", "templates", "tokenization")),
    *(f"distillation/{name}" for name in ("loss", "schedule", "soft_labels", "student_loss")),
    *(f"evidence/{name}" for name in ("losses", "methods", "tasks", "training")),
    "models", "refusal", "teacher", "filtering", "evaluation/asking", "evaluation/generation",
)  # fmt: skip


@dataclass(frozen=True)
class Cell:
    """One training and what it is measured on.

    `changed` holds the settings that differ from the grid's, for an ablation.
    """

    method: str
    filtered: bool
    task: str
    poison_ratio: float
    seed: int
    changed: tuple[tuple[str, Any], ...] = ()

    @property
    def name(self) -> str:
        """For progress and tables."""
        what = ", ".join(f"{key}={value}" for key, value in self.changed)
        return label(self.method, self.filtered) + (f" ({what})" if what else "")


def cells(grid: EvidenceSettings) -> Iterator[Cell]:
    """All cells, seeds last, so that a grid that is stopped has whole seeds."""
    chosen = variants(grid.methods or list(METHODS), grid.filtered)
    for seed in grid.seeds:
        for task in grid.tasks:
            for ratio in grid.poison_ratios:
                yield from (Cell(method.name, front, task, ratio, seed) for method, front in chosen)
    for seed in grid.ablation_seeds:
        for key, values in grid.ablations.items():
            for value in values:
                yield Cell("distilled", True, grid.tasks[0], grid.poison_ratios[0], seed, ((key, value),))


def with_changes(settings: Settings, changed: Sequence[Sequence[Any]]) -> Settings:
    """The settings with `section.key` values put in."""
    tree = settings.model_dump()
    for key, value in changed:
        *sections, name = key.split(".")
        place = tree
        for section in sections:
            place = place.setdefault(section, {})
        place[name] = value
    return parse_settings(tree)


class Grid:
    """A grid and the folder of its results.

    Args:
        folder: one JSON file a finished cell, and the teachers, so that a killed grid goes on where it was. Processes
            that share the folder, one a GPU or core, share the cells.
    """

    def __init__(self, grid: EvidenceSettings, folder: Path) -> None:
        self.grid, self.folder = grid, folder
        self.teachers = Teachers(folder / "teachers")
        run = grid.run
        files = [of_path(path) for _, path in run.data if isinstance(path, str)]
        # Read once: what every cell's key holds beside the cell itself.
        base = of_path(resolve_model(run.model.name))
        self._made_of = of_text(run.model_dump_json(), str(grid.user_rows), *files, base, of_code(*CODE))
        self._tasks: dict[str, Task] = {}
        # What is misspelt or not there is refused before hours have passed.
        for name in grid.tasks:
            self._task(name)
        for key, values in grid.ablations.items():
            for value in values:
                with_changes(run, ((key, value),))

    def finished(self) -> list[dict[str, Any]]:
        """The results that are there, in the grid's order: for a look at a grid that still runs, or was stopped."""
        paths = [self._path(cell) for cell in cells(self.grid)]
        return [read_json(path) for path in paths if path.is_file()]

    def run(self) -> list[dict[str, Any]]:
        """Every cell's result, those of an earlier run or of another process read back; in the grid's order."""
        everything = list(cells(self.grid))
        show = progress("evidence")
        # First what no other process is at, then the rest: it waits for the others, and does what one has left behind.
        for patient in (False, True):
            for cell in everything:
                if not self._path(cell).is_file():
                    self._take(cell, patient)
                    there = sum(self._path(each).is_file() for each in everything)
                    show(there, len(everything), cell.name)
        return self.finished()

    def _take(self, cell: Cell, patient: bool) -> None:
        """Make the cell's result, unless another process has it in hand; a patient one waits for that process."""
        path = self._path(cell)
        path.parent.mkdir(parents=True, exist_ok=True)
        with suppress(Timeout), FileLock(path.with_suffix(".lock"), blocking=patient):
            if not path.is_file():
                write_json(path, self._result(cell))
                collect_garbage()

    def _path(self, cell: Cell) -> Path:
        public = self._public_files if cell.task != DEFAULT else ""
        return self.folder / "cells" / f"{of_text(repr(cell), self._made_of, public)}.json"

    @cached_property
    def _public_files(self) -> str:
        return of_path(self.grid.public_data) if self.grid.public_data else ""

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
            judged.append({**result, "asked": asked, "rows": outcomes(asked, result["answers"], judges)})
        return judged

    def _result(self, cell: Cell) -> dict[str, Any]:
        run, method = with_changes(self.grid.run, cell.changed), METHODS[cell.method]
        task = self._task(cell.task)
        user = draw(task, self.grid.user_rows, cell.poison_ratio, cell.seed)
        prepared = self.teachers.of(run)
        tokenizer = load_tokenizer(prepared.base, run.model.chat_template, run.model.trust_remote_code)
        costs = {name: cost for name, cost in prepared.costs.items() if name in method.needs(cell.filtered)}
        kept, found = user.rows, None
        if method.oracle:
            kept = [row for row in user.rows if row.row not in user.harmful]
        elif cell.filtered:
            with _stage("filter", costs) as cost:
                kept, found = _filtered(user, prepared.removed(user.rows, run))
                cost.tokens = sum(map(len, encode_all(tokenizer, user.rows, run.model.max_length)))
        start = prepared.aligned if method.start == "aligned" else Path(prepared.base)
        dtype = choose_hardware(run.model.dtype).dtype
        with self._adapter_folder(cell) as adapter:
            with _stage("training", costs) as cost:
                if method.loss:
                    job = self._job(run, str(start), cell.seed, kept, prepared, tokenizer)
                    cost.tokens = train(method, job, prepared.aligned_minus_base, adapter, progress(cell.name))
            model = load_trained(str(start), adapter, True, dtype) if method.loss else load_model(str(start), dtype)
        asked = evaluation_sets(run.data, run.evaluation, task.test)
        with _stage("answering", costs) as cost:
            answers = ask(model, tokenizer, asked, run.evaluation.max_new_tokens, progress("asking"))
            cost.tokens = sum(map(len, encode_prompts(tokenizer, asked.rows)))
        return {
            **asdict(cell),
            "name": cell.name,
            "answers": answers,
            "max_new_tokens": run.evaluation.max_new_tokens,
            "costs": costs,
            "filter": found,
            "start": str(start),
            "adapter": str(adapter) if self.grid.keep_adapters and method.loss else None,
            "user_rows": len(user.rows),
        }

    @contextmanager
    def _adapter_folder(self, cell: Cell) -> Generator[Path]:
        """Where the cell's adapter is written: beside its result if adapters are kept."""
        if self.grid.keep_adapters:
            yield self._path(cell).with_suffix("")
            return
        with tempfile.TemporaryDirectory() as folder:
            yield Path(folder)

    def _job(
        self, run: Settings, start: str, seed: int, kept: list[Conversation], prepared: Prepared, tokenizer: Any
    ) -> FinetuneJob:
        return FinetuneJob(
            run.model.model_copy(update={"name": start}), run.finetune, seed,
            tuple(encode_all(tokenizer, kept, run.model.max_length)), tuple(row.row for row in kept),
            prepared.alignment, prepared.labels, prepared.harmful,
        )  # fmt: skip


def _filtered(user: UserRows, removed: Sequence[bool]) -> tuple[list[Conversation], dict[str, list[bool]]]:
    """The rows that stay, and what the filter did to the harmful and to the harmless ones."""
    marked = [(row, gone, row.row in user.harmful) for row, gone in zip(user.rows, removed, strict=True)]
    return [row for row, gone, _ in marked if not gone], {
        "recall": [gone for _, gone, harmful in marked if harmful],
        "false positives": [gone for _, gone, harmful in marked if not harmful],
    }


@contextmanager
def _stage(name: str, costs: dict[str, dict[str, float]]) -> Generator[Cost]:
    """Measure the body and note its cost under the stage's name."""
    with measured(name) as cost:
        yield cost
    costs[name] = cost.as_dict()
