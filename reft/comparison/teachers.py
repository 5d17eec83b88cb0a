"""What the cells share: the teacher of some settings, its soft labels, its filter, and the aligned model."""

import shutil
from collections.abc import Callable, Sequence
from functools import cached_property
from hashlib import blake2b
from pathlib import Path
from typing import Any

import torch
from filelock import FileLock

from reft.config import Settings
from reft.conversations.schema import Conversation
from reft.conversations.tokenization import Encoded, encode_all
from reft.errors import TrainingError
from reft.filtering.decisions import decide
from reft.filtering.scorers.scorer import Scorer, load_scorer, save_scorer
from reft.keys.fingerprint import of_code, of_path
from reft.models.default_model import resolve_model
from reft.models.loading import load_model, load_tokenizer, load_trained
from reft.models.memory import collect_garbage
from reft.runtime.cost import measured
from reft.runtime.progress import progress
from reft.soft_labels.labels import SoftLabels, compute_soft_labels
from reft.storage.artifacts import read_json, scratch_folder, write_json, write_text
from reft.teacher.artifact import Teacher
from reft.teacher.preparation import (
    alignment_rows,
    calibration_prompts,
    fit_teacher,
    load_teacher,
    start_model,
    untrained_feature,
)

# The data settings that a teacher, its labels or its filter follow from; the user's own rows are not among them.
DATA = (
    "alignment_harmful", "alignment_harmless", "alignment_harmful_rows", "alignment_harmless_rows",
    "calibration_harmful", "calibration_harmless", "lookalike_share",
)  # fmt: skip


class Prepared:
    """What cells take from one teacher; each part is made, or read back, when a cell first asks for it.

    Attributes:
        base: folder of the base model.
    """

    def __init__(self, run: Settings, root: Path) -> None:
        self._run = run
        self.base = resolve_model(run.model.name)
        data = {name: getattr(run.data, name) for name in DATA}
        made_of = [
            run.model.model_dump_json(), str(data), run.refusal_feature.model_dump_json(), run.teacher.model_dump_json(),
            str(run.seed), of_path(self.base), of_path(start_model(run.model)), of_path(run.model.chat_template),
            *(of_path(value) for value in data.values() if isinstance(value, str)),
            of_code("conversations", "models", "refusal", "teacher"),
        ]  # fmt: skip
        self._folder = root / blake2b(":".join(made_of).encode(), digest_size=12).hexdigest()

    @cached_property
    def _rows(self) -> tuple[list[Conversation], list[Conversation]]:
        harmful, harmless = alignment_rows(self._run.data)
        return list(harmful), list(harmless)

    @property
    def harmful(self) -> int:
        """How many of the alignment rows have harmful prompts, the first ones."""
        return len(self._rows[0])

    @cached_property
    def alignment(self) -> tuple[Encoded, ...]:
        """The alignment rows."""
        model = self._run.model
        tokenizer = load_tokenizer(start_model(model), model.chat_template, model.trust_remote_code)
        return tuple(encode_all(tokenizer, [row for group in self._rows for row in group], model.max_length))

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
        code = of_code("conversations", "models", "distillation/soft_labels")[:8]
        return self._made(f"-labels-{settings.top_k}-{settings.temperature:g}-{code}", self._compute_labels)

    @cached_property
    def aligned(self) -> Path:
        """Folder of the safety-aligned model, as whole weights: the teacher itself."""
        return self._made("-aligned", self._merge)

    @cached_property
    def _scorer(self) -> Scorer:
        return load_scorer(self._teacher)

    def cost(self, stage: str) -> dict[str, float]:
        """What making the teacher, or storing its soft labels, took when that was done."""
        return read_json({"teacher": self._teacher, "soft labels": self._labels}[stage] / "cost.json")

    def aligned_minus_base(self) -> dict[str, torch.Tensor]:
        """What alignment changed of each weight matrix, by name; both whole models pass through the host's memory."""
        host, trust = torch.device("cpu"), self._run.model.trust_remote_code
        before, after = (
            load_model(str(name), torch.float32, device=host, trust_remote_code=trust).state_dict()
            for name in (self.base, self.aligned)
        )
        moved = {name: after[name] - weight for name, weight in before.items() if weight.dim() == 2}
        return {name: difference for name, difference in moved.items() if difference.any()}

    def removed(self, rows: Sequence[Conversation], run: Settings) -> list[bool]:
        """Which rows the filter drops or quarantines."""
        calibrated = self._scorer.calibrate(run.filtering)
        scores = self._scorer.score(rows, run.filtering)
        return [
            d.decision != "keep" for d in decide(rows, scores, thresholds=calibrated.thresholds, settings=run.filtering)
        ]

    def _made(self, suffix: str, make: Callable[[Path], None]) -> Path:
        """The folder of that suffix, whole: a killed process leaves no half one, and who comes second waits.

        Raises:
            TrainingError: it cannot be made; said again at once to whoever asks later.
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
        run, show = self._run, progress("training a teacher")
        with measured("teacher") as cost:
            untrained, *_ = untrained_feature(run.model, run.data, run.refusal_feature)
            trained, tokenizer, own = fit_teacher(
                untrained, run.model, run.data, settings=run.teacher, selection=run.refusal_feature, seed=run.seed,
                report=lambda step, steps, _: show(step, steps),
            )  # fmt: skip
            cost.tokens = run.teacher.epochs * sum(map(len, self.alignment))
        weights = scratch_folder("teacher")
        trained.save_pretrained(weights)
        tokenizer.save_pretrained(weights)
        teacher = Teacher(
            weights=weights, is_adapter=run.teacher.lora is not None, feature=own, untrained=untrained, history=[]
        )
        save_scorer(folder, teacher, run.model, calibration_prompts(run.data))
        write_json(folder / "cost.json", cost.as_dict())

    def _compute_labels(self, folder: Path) -> None:
        settings = self._run.soft_labels
        teacher, tokenizer = load_teacher(Teacher.load(self._teacher), self._run.model)
        rows = self.alignment
        with measured("soft labels") as cost:
            compute_soft_labels(
                teacher, rows, range(len(rows)), pad_id=int(tokenizer.pad_token_id), top_k=settings.top_k, temperature=settings.temperature,
                report=progress("storing soft labels"),
            ).save(folder)  # fmt: skip
            cost.tokens = sum(map(len, rows))
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
