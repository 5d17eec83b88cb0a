"""One cell of the grid: which it is, and how its answers come about: filter, train, ask."""

from collections.abc import Generator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from reft.comparison.methods import METHODS, Method, label
from reft.comparison.tasks import Task, UserRows, draw
from reft.comparison.teachers import Prepared
from reft.comparison.training import train
from reft.config import Settings, parse_settings
from reft.conversations.schema import Conversation
from reft.conversations.tokenization import encode_all, encode_prompts, encode_text
from reft.evaluation.questions import ask, evaluation_sets
from reft.finetuning.job import FinetuneJob
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
        return label(self.method, self.filtered) + (f" ({what})" if what else "")


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


def answers_of(cell: Cell, run: Settings, task: Task, *, user_rows: int, prepared: Prepared, adapter: Path) -> dict:
    """Do all that the cell says: its answers by group of questions, and what each stage cost.

    Args:
        run: the settings, with the cell's changes in them.
        adapter: the folder where what was trained is written.

    Raises:
        TrainingError: the loss is not a number.
        DataValidationError: the task has too few rows.
    """
    method = METHODS[cell.method]
    user = draw(task, user_rows, cell.poison_ratio, seed=cell.seed)
    tokenizer = load_tokenizer(prepared.base, run.model.chat_template, run.model.trust_remote_code)
    costs = {stage: prepared.cost(stage) for stage in method.needs(cell.filtered)}
    kept, found = user.rows, None
    if method.oracle:
        kept = [row for row in user.rows if row.row not in user.harmful]
    elif cell.filtered:
        with _stage("filter", costs) as cost:
            kept, found = _filtered(user, prepared.removed(user.rows, run))
            cost.tokens = sum(map(len, encode_all(tokenizer, user.rows, run.model.max_length)))
    start = prepared.aligned if method.start == "aligned" else Path(prepared.base)
    dtype, trust = choose_hardware(run.model.dtype).dtype, run.model.trust_remote_code
    if method.loss:
        with _stage("training", costs) as cost:
            job = _job(run, method, str(start), seed=cell.seed, kept=kept, prepared=prepared, tokenizer=tokenizer)
            cost.tokens = train(method, job, prepared.aligned_minus_base, output=adapter, report=progress(cell.name))
        model = load_trained(str(start), adapter, True, dtype=dtype, trust_remote_code=trust)
    else:
        model = load_model(str(start), dtype, trust_remote_code=trust)
    asked = evaluation_sets(run.data, run.evaluation, task.test)
    with _stage("answering", costs) as cost:
        answers = ask(model, tokenizer, asked, max_new_tokens=run.evaluation.max_new_tokens, report=progress("asking"))
        said = [encode_text(tokenizer, answer) for group in answers.values() for answer in group]
        cost.tokens = sum(map(len, [*encode_prompts(tokenizer, asked.rows), *said]))
    return {
        **asdict(cell),
        "name": cell.name,
        "answers": answers,
        "max_new_tokens": run.evaluation.max_new_tokens,
        "costs": costs,
        "filter": found,
        "start": str(start),
        "user_rows": len(user.rows),
    }


def _job(
    run: Settings,
    method: Method,
    start: str,
    *,
    seed: int,
    kept: list[Conversation],
    prepared: Prepared,
    tokenizer: Any,
) -> FinetuneJob:
    return FinetuneJob(
        model=run.model.model_copy(update={"name": start}), settings=run.finetuning, seed=seed,
        user=tuple(encode_all(tokenizer, kept, run.model.max_length)), row_numbers=tuple(row.row for row in kept),
        alignment=prepared.alignment, soft_labels=prepared.labels if method.distils else None, harmful=prepared.harmful,
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
