"""What the cells share: the teacher of some settings, its soft labels, its filter, and the aligned model.

Each is made as the pipeline's steps make it, once for all cells, and kept in a folder.
"""

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from filelock import FileLock

from reft.comparison.attacker import hidden_from
from reft.comparison.tasks import Task
from reft.config import FinetuningSettings, Settings
from reft.conversations.reading import read_conversations
from reft.conversations.schema import Conversation, written
from reft.errors import TrainingError
from reft.filtering.filter import Filter
from reft.filtering.inputs import read_inputs, save_inputs
from reft.filtering.scorers import Scorer, load_scorer
from reft.finetuning.job import what_comes_out
from reft.finetuning.methods import Provided, load_method
from reft.finetuning.student import Alignment, fit_student, starts_as, student_job
from reft.keys.closure import digest_of_code
from reft.keys.stages import method_part, scorer_parts
from reft.models.default_model import resolve_model
from reft.models.loading import load_model, load_tokenizer, load_trained
from reft.models.memory import collect_garbage
from reft.runtime.cost import measured
from reft.soft_labels.labels import SoftLabels
from reft.soft_labels.making import make_soft_labels
from reft.storage.artifacts import read_json, write_json, write_text
from reft.storage.digests import seal
from reft.storage.fingerprint import of_path, of_text
from reft.teacher.artifact import Teacher
from reft.teacher.preparation import (
    alignment_rows,
    calibration_prompts,
    make_teacher,
    start_model,
    teacher_key,
    untrained_feature,
)

# What adapters that a provider makes are trained by.
SFT = "sft"


class Prepared:
    """What cells take from one teacher; each part is made, or read back, when a cell first asks for it.

    Attributes:
        base: folder of the base model.
    """

    def __init__(self, run: Settings, root: Path) -> None:
        self._run = run
        self.base = resolve_model(run.model.name)
        teacher = teacher_key(run.model, run.data, settings=run.teacher, selection=run.refusal_feature, seed=run.seed)
        self._folder = root / of_text(teacher, of_path(self.base))
        self._scorers: dict[str, Scorer] = {}
        self._filters: dict[str, Filter] = {}

    @cached_property
    def _rows(self) -> tuple[list[Conversation], list[Conversation]]:
        return alignment_rows(self._run.data)

    def alignment(self, *, distils: bool) -> Alignment:
        """The alignment rows, and what the teacher says of them if it is to be distilled."""
        harmful, harmless = self._rows
        return Alignment(harmful=harmful, harmless=harmless, teacher=self.labels if distils else None)

    @cached_property
    def _teacher(self) -> Path:
        return self._made("", self._fit)

    @cached_property
    def labels(self) -> SoftLabels:
        """The teacher's soft labels of the alignment rows."""
        return SoftLabels.load(self._labels)

    @cached_property
    def _labels(self) -> Path:
        settings = self._run.soft_labels
        code = digest_of_code("reft.soft_labels.making")[:8]
        return self._made(f"-labels-{settings.top_k}-{settings.temperature:g}-{code}", self._compute_labels)

    @cached_property
    def aligned(self) -> Path:
        """Folder of the safety-aligned model, as whole weights: the teacher itself."""
        return self._made("-aligned", self._merge)

    def start_of(self, settings: FinetuningSettings) -> Path | None:
        """The teacher's adapter, where a student of these settings begins as it, as in the pipeline."""
        return starts_as(Teacher.load(self._teacher), self._run.model, settings)

    def provided(self, settings: FinetuningSettings) -> Provided:
        """What a provider makes once for all students of these settings; adapters are trained with these, too."""
        wanted = load_method(settings.method).adapters
        if not wanted:
            return Provided(aligned_minus_base=self.aligned_minus_base)
        parts = (method_part(SFT), method_part(settings.method))
        code = digest_of_code("reft.finetuning.worker", parts)
        key = of_text(what_comes_out(settings.for_method(SFT)).model_dump_json(), code)[:16]
        made = self._made(f"-{settings.method}-{key}", lambda folder: self._train_adapters(settings, folder))
        return Provided(
            aligned_minus_base=self.aligned_minus_base,
            adapters={adapter.name: made / adapter.name for adapter in wanted},
            costs={"provider_adapters": read_json(made / "cost.json")},
        )

    @property
    def folder(self) -> Path:
        """Where the teacher lies, as `read_inputs` reads it; it is made if it is not there."""
        return self._teacher

    def filter(self, run: Settings) -> Filter:
        """The filter of these settings; a scorer is loaded once for all of its thresholds."""
        settings = run.filtering
        scorer, key = f"{settings.scorer} {settings.scorer_settings}", settings.model_dump_json()
        if scorer not in self._scorers:
            inputs = replace(read_inputs(self._teacher), options=settings.scorer_settings)
            self._scorers[scorer] = load_scorer(settings.scorer, inputs)
        if key not in self._filters:
            self._filters[key] = Filter.calibrated(self._scorers[scorer], settings)
        return self._filters[key]

    def attacked(self, task: Task, run: Settings) -> Task:
        """The task with poison that hides from the filter of these settings; the search is made once for all cells."""
        seen, clauses = self.filter(run), [row.instruction for row in task.clean]
        code = digest_of_code("reft.comparison.attacker", scorer_parts(run.filtering))
        key = of_text(run.filtering.model_dump_json(), repr(task.poisoned), repr(clauses), code)[:16]

        def search(folder: Path) -> None:
            rows = hidden_from(seen, task.poisoned, clauses, seed=run.seed)
            lines = (json.dumps({"messages": written(row.messages)}) + "\n" for row in rows)
            write_text(folder / "rows.jsonl", "".join(lines))

        return replace(task, poisoned=read_conversations(self._made(f"-hidden-{key}", search) / "rows.jsonl"))

    def cost(self, stage: str) -> dict[str, float]:
        """What making the teacher, or storing its soft labels, took when that was done."""
        folder = self._labels if stage == "soft_labels" else self._teacher
        return read_json(folder / "cost.json")

    def aligned_minus_base(self) -> dict[str, torch.Tensor]:
        """What alignment changed of each weight matrix, by name; both whole models pass through the host's memory."""
        host, trust = torch.device("cpu"), self._run.model.trust_remote_code
        before, after = (
            load_model(str(name), torch.float32, device=host, trust_remote_code=trust).state_dict()
            for name in (self.base, self.aligned)
        )
        moved = {name: after[name] - weight for name, weight in before.items() if weight.dim() == 2}
        return {name: difference for name, difference in moved.items() if difference.any()}

    def _made(self, suffix: str, make: Callable[[Path], None]) -> Path:
        """The folder of that suffix, whole: a killed process leaves no half one, and who comes second waits.

        Raises:
            TrainingError: it cannot be made; raised again at once for whoever asks later.
        """
        folder = self._folder.with_name(self._folder.name + suffix)
        folder.parent.mkdir(parents=True, exist_ok=True)
        failed = Path(f"{folder}.failed")
        with FileLock(f"{folder}.lock"):
            if failed.is_file():
                raise TrainingError(f"{failed.read_text()} (remove {failed} to try again)")
            if not folder.is_dir():
                part = Path(f"{folder}.part")
                shutil.rmtree(part, ignore_errors=True)
                try:
                    make(part)
                except TrainingError as error:
                    write_text(failed, str(error))
                    raise
                part.rename(folder)
        return folder

    def _fit(self, folder: Path) -> None:
        run = self._run
        with measured("teacher") as cost:
            untrained, *_ = untrained_feature(run.model, run.data, run.refusal_feature)
            teacher, cost.tokens = make_teacher(
                untrained, run.model, run.data, settings=run.teacher, selection=run.refusal_feature, seed=run.seed
            )
        save_inputs(folder, teacher, model=run.model, calibration=calibration_prompts(run.data))
        shutil.rmtree(teacher.weights)
        write_json(folder / "cost.json", cost.as_dict())
        seal(folder)  # anew, with what it took

    def _compute_labels(self, folder: Path) -> None:
        run = self._run
        with measured("soft_labels") as cost:
            labels, cost.tokens = make_soft_labels(
                Teacher.load(self._teacher), run.model, run.data, settings=run.soft_labels
            )
        labels.save(folder)
        write_json(folder / "cost.json", cost.as_dict())

    def _train_adapters(self, settings: FinetuningSettings, folder: Path) -> None:
        """A method's adapters of the aligned model, each in a folder of its name."""
        model = self._run.model.model_copy(update={"name": str(self.aligned)})
        plain = settings.for_method(SFT).model_copy(update={"kept_epochs": 1})
        with measured("provider_adapters") as cost:
            for adapter in load_method(settings.method).adapters:
                beside = folder / adapter.beside if adapter.beside else None
                rows = adapter.rows(*self._rows)
                job = student_job(rows, model, plain, seed=self._run.seed, beside=beside)
                student, tokens = fit_student(adapter.name, job)
                cost.tokens += tokens
                shutil.copytree(student.weights, folder / adapter.name)
                shutil.rmtree(student.weights)
        write_json(folder / "cost.json", cost.as_dict())

    def _merge(self, folder: Path) -> None:
        model, teacher = self._run.model, Teacher.load(self._teacher)
        whole = load_trained(
            start_model(model),
            teacher.weights,
            teacher.is_adapter,
            dtype=torch.float32,
            trust_remote_code=model.trust_remote_code,
        )
        whole.save_pretrained(folder)
        load_tokenizer(start_model(model), model.chat_template, model.trust_remote_code).save_pretrained(folder)


class Teachers:
    """Teachers by the settings that make them, in a folder; the last one stays in memory."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._last: tuple[tuple[Any, ...], Prepared] | None = None

    def of(self, run: Settings) -> Prepared:
        """What cells of these settings share."""
        key = (run.seed, run.model, run.data, run.refusal_feature, run.teacher, run.soft_labels)
        if self._last is None or self._last[0] != key:
            self._last = None
            collect_garbage()
            self._last = key, Prepared(run, self._folder)
        return self._last[1]
