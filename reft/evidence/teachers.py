"""What the cells share: the teacher of some settings, its soft labels, its filter, and the aligned model."""

import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path

import torch
from filelock import FileLock

from reft.artifacts import read_json, scratch_folder, write_json
from reft.config import Settings
from reft.conversations.schema import Conversation
from reft.conversations.tokenization import Encoded, encode_all
from reft.cost import measured
from reft.distillation.soft_labels import SoftLabels, compute_soft_labels
from reft.filtering.decisions import decide
from reft.fingerprint import of_code, of_path
from reft.models.default_model import resolve_model
from reft.models.loading import load_model, load_trained
from reft.models.memory import collect_garbage
from reft.progress import progress
from reft.scorer import Scorer, load_scorer, save_scorer
from reft.teacher.artifact import Teacher
from reft.teacher.preparation import alignment_rows, calibration_prompts, fit_teacher, load_teacher, untrained_feature


@dataclass(frozen=True)
class Prepared:
    """Everything that a cell takes from its settings' teacher.

    Attributes:
        base: folder of the base model.
        aligned: folder of the safety-aligned model, as whole weights: the teacher itself.
        harmful: how many of the alignment rows have harmful prompts, the first ones.
        costs: of making the teacher and of storing its soft labels, when that was done.
    """

    base: str
    aligned: Path
    alignment: tuple[Encoded, ...]
    labels: SoftLabels
    harmful: int
    scorer: Scorer
    costs: dict[str, dict[str, float]]

    def aligned_minus_base(self) -> dict[str, torch.Tensor]:
        """What alignment changed of each weight matrix, by name; both whole models pass through the host's memory."""
        host = torch.device("cpu")
        before, after = (load_model(str(name), torch.float32, host).state_dict() for name in (self.base, self.aligned))
        moved = {name: after[name] - weight for name, weight in before.items() if weight.dim() == 2}
        return {name: difference for name, difference in moved.items() if difference.any()}

    def removed(self, rows: Sequence[Conversation], run: Settings) -> list[bool]:
        """Which rows the filter drops or quarantines."""
        calibrated = self.scorer.calibrate(run.filter)
        scores = self.scorer.score(rows, run.filter)
        return [d.decision != "keep" for d in decide(rows, scores, calibrated.thresholds, run.filter)]


class Teachers:
    """Teachers by the settings that make them, in a folder; the last one stays in memory."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._last: tuple[str, Prepared] | None = None

    def of(self, run: Settings) -> Prepared:
        """Train, or read back, the teacher of these settings and its soft labels."""
        data = run.data.model_dump(
            include={name for name in type(run.data).model_fields if name.startswith(("a", "c", "l"))}
        )
        made_of = [
            run.model.model_dump_json(), str(data), run.feature.model_dump_json(), run.teacher.model_dump_json(),
            str(run.seed), of_path(resolve_model(run.model.name)),
            *(of_path(data[name]) for name in data if isinstance(data[name], str)),
            of_code("conversations", "models", "refusal", "teacher"),
        ]  # fmt: skip
        digest = blake2b(":".join(made_of).encode(), digest_size=12).hexdigest()
        key = f"{digest}:{run.soft_labels.model_dump_json()}"
        if self._last is None or self._last[0] != key:
            self._last = None
            collect_garbage()
            self._folder.mkdir(parents=True, exist_ok=True)
            with FileLock(self._folder / f"{digest}.lock"):  # who comes second waits, and reads what the first made
                self._last = key, self._prepare(run, self._folder / digest)
        return self._last[1]

    def _prepare(self, run: Settings, folder: Path) -> Prepared:
        if not (folder / "scorer.json").is_file():
            self._fit(run, folder)
        teacher = Teacher.load(folder)
        base = resolve_model(run.model.name)
        loaded, tokenizer = load_teacher(teacher, run.model)
        harmful, harmless = alignment_rows(run.data)
        alignment = encode_all(tokenizer, [*harmful, *harmless], run.model.max_length)
        labels = self._labels(run, folder, loaded, alignment, int(tokenizer.pad_token_id))
        aligned = folder / "aligned"
        if not (aligned / "model.safetensors").is_file():
            whole = load_trained(base, teacher.weights, teacher.is_adapter, torch.float32)
            whole.save_pretrained(aligned)
            tokenizer.save_pretrained(aligned)
        costs = {"teacher": read_json(folder / "cost.json"), "soft labels": read_json(labels / "cost.json")}
        return Prepared(
            base, aligned, tuple(alignment), SoftLabels.load(labels), len(harmful), load_scorer(folder), costs
        )

    def _fit(self, run: Settings, folder: Path) -> None:
        show = progress("training a teacher")
        with measured("teacher") as cost:
            untrained, *_ = untrained_feature(run.model, run.data, run.feature)
            trained, tokenizer, own = fit_teacher(
                untrained, run.model, run.data, run.teacher, run.feature, run.seed,
                lambda step, steps, _: show(step, steps),
            )  # fmt: skip
            rows = [row for group in alignment_rows(run.data) for row in group]
            cost.tokens = run.teacher.epochs * sum(map(len, encode_all(tokenizer, rows, run.model.max_length)))
        weights = scratch_folder("teacher")
        trained.save_pretrained(weights)
        tokenizer.save_pretrained(weights)
        part = folder.with_name(f"{folder.name}.part")
        shutil.rmtree(part, ignore_errors=True)
        save_scorer(
            part,
            Teacher(weights, run.teacher.lora is not None, own, untrained, []),
            run.model,
            calibration_prompts(run.data),
        )
        write_json(part / "cost.json", cost.as_dict())
        part.rename(folder)  # a killed grid leaves no half teacher

    def _labels(
        self, run: Settings, folder: Path, teacher: torch.nn.Module, rows: Sequence[Encoded], pad_id: int
    ) -> Path:
        settings = run.soft_labels
        place = folder / f"labels-{settings.top_k}-{settings.temperature:g}"
        if not (place / "cost.json").is_file():
            with measured("soft labels") as cost:
                compute_soft_labels(
                    teacher, rows, range(len(rows)), pad_id, settings.top_k, settings.temperature,
                    progress("storing soft labels"),
                ).save(place)  # fmt: skip
                cost.tokens = sum(map(len, rows))
            write_json(place / "cost.json", cost.as_dict())
        return place
