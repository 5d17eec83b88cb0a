"""One cell of the grid: which it is, and how its answers come about: filter, train, ask."""

import shutil
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from reft.comparison.attacker import IN_THEIR_FORM, asked_in_their_form
from reft.comparison.tasks import Task, UserRows, draw
from reft.comparison.teachers import Prepared
from reft.comparison.variants import label
from reft.config import Settings, parse_settings
from reft.config.renamed import present_name
from reft.conversations.schema import Conversation
from reft.conversations.tokenization import encode_all, encode_prompts, encode_text
from reft.evaluation.generation import generate
from reft.evaluation.questions import ask, evaluation_sets
from reft.finetuning.methods import load_method
from reft.finetuning.student import fit_student, student_job
from reft.models.hardware import choose_hardware
from reft.models.loading import load_model, load_tokenizer, load_trained
from reft.runtime.cost import Cost, measured
from reft.runtime.progress import progress


@dataclass(frozen=True, kw_only=True)
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
        return label(self.method, filtered=self.filtered) + (f" ({what})" if what else "")


@dataclass(frozen=True, kw_only=True)
class CellInputs:
    """What a cell is made with.

    Attributes:
        run: the settings, with the cell's changes in them.
        prepared: the teacher and what follows from it.
        poison_hides: whether whoever sends the poison sees the filter, too.
        adapter: the folder where what was trained is written.
        work: the folder where a training that was stopped is found again.
        options: the method's own settings.
    """

    run: Settings
    task: Task
    user_rows: int
    prepared: Prepared
    adapter: Path
    work: Path
    poison_hides: bool = False
    options: Mapping[str, Any] = field(default_factory=dict)


def with_changes(settings: Settings, changed: Sequence[Sequence[Any]]) -> Settings:
    """The settings with `section.key` values put in."""
    tree = settings.model_dump()
    for key, value in changed:
        *sections, name = present_name(key).split(".")
        place = tree
        for section in sections:
            place = place.setdefault(section, {})
        place[name] = value
    return parse_settings(tree)


def answers_of(cell: Cell, given: CellInputs) -> dict[str, Any]:
    """Do all that the cell says: its answers by group of questions, and what each stage cost.

    Raises:
        TrainingError: the training failed; the loss is not a number, for one.
        DataValidationError: the task has too few rows.
    """
    method, run, prepared = load_method(cell.method), given.run, given.prepared
    task = prepared.attacked(given.task, run) if given.poison_hides else given.task
    user = draw(task, given.user_rows, cell.poison_ratio, seed=cell.seed)
    tokenizer = load_tokenizer(prepared.base, run.model.chat_template, run.model.trust_remote_code)
    costs = {stage: prepared.cost(stage) for stage in method.needs(filtered=cell.filtered)}
    kept, filtered = user.rows, None
    if method.oracle:
        kept = [row for row in user.rows if row.row not in user.harmful]
    elif cell.filtered:
        with _stage("filtering", costs) as cost:
            kept, filtered = _filtered(user, prepared.filter(run).removed(user.rows))
            cost.tokens = sum(map(len, encode_all(tokenizer, user.rows, run.model.max_length)))
    as_teacher = method.begins_as_teacher(run.finetuning)
    start = str(prepared.aligned if method.start == "aligned" and not as_teacher else prepared.base)
    dtype, trust = choose_hardware(run.model.dtype).dtype, run.model.trust_remote_code
    if method.loss:
        _train(cell, given, user, kept=kept, start=start, costs=costs)
        model = load_trained(start, given.adapter, True, dtype=dtype, trust_remote_code=trust)
    else:
        model = load_model(start, dtype, trust_remote_code=trust)
    asked = evaluation_sets(run.data, run.evaluation, given.task.test)
    with _stage("evaluation", costs) as cost:
        answers = ask(model, tokenizer, asked, max_new_tokens=run.evaluation.max_new_tokens, report=progress("asking"))
        texts = [encode_text(tokenizer, answer) for group in answers.values() for answer in group]
        cost.tokens = sum(map(len, [*encode_prompts(tokenizer, asked.rows), *texts]))
    if given.poison_hides:
        alike = asked_in_their_form(asked.harmful, _pairs(cell, given, user, kept=kept))
        answers[IN_THEIR_FORM] = generate(model, tokenizer, alike, max_new_tokens=run.evaluation.max_new_tokens)
    return {
        **asdict(cell),
        "name": cell.name,
        "answers": answers,
        "max_new_tokens": run.evaluation.max_new_tokens,
        "costs": costs,
        "filter": filtered,
        "start": start,
        "user_rows": len(user.rows),
    }


def _train(
    cell: Cell,
    given: CellInputs,
    user: UserRows,
    *,
    kept: Sequence[Conversation],
    start: str,
    costs: dict[str, dict[str, float]],
) -> None:
    """Through the pipeline's own path; the adapter ends in its folder, and what it cost among the costs."""
    run, prepared, method = given.run, given.prepared, load_method(cell.method)
    settings = run.finetuning.for_method(cell.method, dict(given.options))
    settings = settings.model_copy(update={"work_folder": str(given.work), "merged": False, "launcher": "local"})
    alignment = prepared.alignment(distils=method.distils) if method.alignment else None
    model = run.model.model_copy(update={"name": start})
    begins = prepared.start_of(settings) if method.begins_as_teacher(settings) else None
    provided = prepared.provided(settings)
    costs.update(provided.costs)
    beside = provided.adapters[method.beside] if method.beside else None
    with _stage("finetuning", costs) as cost:
        counted = settings.counted(len(user.rows))  # as often as without a filter
        job = student_job(kept, model, counted, seed=cell.seed, alignment=alignment, start=begins, beside=beside)
        student, cost.tokens = fit_student(cell.name, job)
        if method.after:
            method.after(student.weights, provided, method.options(given.options))
        shutil.copytree(student.weights, given.adapter, dirs_exist_ok=True)
        shutil.rmtree(student.weights)


def _pairs(
    cell: Cell, given: CellInputs, user: UserRows, *, kept: Sequence[Conversation]
) -> list[tuple[Conversation, Conversation]]:
    """The cell's poison before and after it was hidden: what was trained on, or all of it where nothing was left."""
    plain = draw(given.task, given.user_rows, cell.poison_ratio, seed=cell.seed)  # the same rows in the same places
    left = user.harmful & {row.row for row in kept}
    return [(plain.rows[row], user.rows[row]) for row in sorted(left or user.harmful)]


def _filtered(user: UserRows, removed: Sequence[bool]) -> tuple[list[Conversation], dict[str, list[bool]]]:
    """The rows that stay, and what the filter did to the harmful and to the harmless ones."""
    marked = [(row, gone, row.row in user.harmful) for row, gone in zip(user.rows, removed, strict=True)]
    return [row for row, gone, _ in marked if not gone], {
        "recall": [gone for _, gone, harmful in marked if harmful],
        "false_positives": [gone for _, gone, harmful in marked if not harmful],
    }


@contextmanager
def _stage(name: str, costs: dict[str, dict[str, float]]) -> Generator[Cost]:
    """Measure the body and note its cost under the stage's name."""
    with measured(name) as cost:
        yield cost
    costs[name] = cost.as_dict()
