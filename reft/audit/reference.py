"""What the teacher and the base model do under the probes: asked once for all jobs of a provider."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from safetensors.torch import save_file

from reft.audit.drift import features_of, opening_rows
from reft.audit.forms import put
from reft.audit.probes import PROBES, Outcomes, ask_probes, askable
from reft.config import AuditSettings, DataSettings
from reft.conversations.reading import read_conversations
from reft.models.memory import collect_garbage
from reft.refusal_feature.feature import RefusalFeature
from reft.soft_labels.labels import SoftLabels, compute_soft_labels
from reft.storage.artifacts import as_written, read_json, write_json
from reft.storage.fingerprint import of_text
from reft.storage.tensors import read_tensors

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

TOP_K = 64
MARGIN_ROWS = 10
# What of the settings changes no value.
VERDICT = {"enabled", "false_alarms", "excess"}


@dataclass(frozen=True, kw_only=True)
class Questions:
    """The prompts of an audit, the shipped generic ones.

    Attributes:
        harmful, ordinary: each asked in every form.
        spare: harmful prompts for the margin's rows, which are not asked.
    """

    harmful: tuple[str, ...]
    ordinary: tuple[str, ...]
    spare: tuple[str, ...] = ()

    @classmethod
    def read(cls, data: DataSettings, settings: AuditSettings) -> Questions:
        """The first rows of the evaluation's files: they hold every source in turn."""
        files = (
            (data.evaluation_harmful, settings.rows),
            (data.evaluation_ordinary, settings.ordinary_rows),
            (data.calibration_harmful, MARGIN_ROWS),
        )
        harmful, ordinary, spare = (tuple(c.instruction for c in read_conversations(*file)) for file in files)
        return cls(harmful=harmful, ordinary=ordinary, spare=spare)

    def digest(self, settings: AuditSettings) -> str:
        """Of all that decides a value: audits of one digest can be measured by one another."""
        texts = [repr(probe) for probe in PROBES]
        for form in dict.fromkeys(probe.form for probe in PROBES):
            rows = put(form, [*self.harmful, *self.ordinary], self.ordinary)
            texts += [message.content for row in rows for message in row.messages]
        return of_text(settings.model_dump_json(exclude=VERDICT), *self.spare, *texts)


@dataclass(frozen=True, kw_only=True)
class Reference:
    """What a student is held against.

    Attributes:
        teacher, base: what these models did under each probe.
        feature: the teacher's refusal feature.
        features: what it read of the teacher, harmful prompts first, [prompts, hidden].
        labels: the teacher's predictions at the first tokens of its own answers to the plain harmful prompts.
    """

    teacher: Outcomes
    base: Outcomes
    feature: RefusalFeature
    features: torch.Tensor
    labels: SoftLabels

    @property
    def openings(self) -> list[str]:
        """The answers whose first tokens `labels` are of."""
        return self.teacher.said["plain"]

    def save(self, folder: Path) -> None:
        """Write `reference.json`, `features.safetensors`, the labels and the feature."""
        self.labels.save(folder)
        self.feature.save(folder / "feature")
        save_file({"features": self.features.contiguous()}, str(folder / "features.safetensors"))
        write_json(folder / "reference.json", {"teacher": asdict(self.teacher), "base": asdict(self.base)})

    @classmethod
    def load(cls, folder: Path) -> Reference:
        """Read what `save` wrote.

        Raises:
            StorageError: a file is missing or damaged.
        """
        stored = read_json(folder / "reference.json")
        with as_written(folder / "reference.json"):
            teacher, base = (Outcomes(**stored[name]) for name in ("teacher", "base"))
        return cls(
            teacher=teacher, base=base, feature=RefusalFeature.load(folder / "feature"),
            features=read_tensors(folder / "features.safetensors")["features"], labels=SoftLabels.load(folder),
        )  # fmt: skip


def reference_of(
    load_teacher: Any,
    load_base: Any,
    tokenizer: PreTrainedTokenizerBase,
    *,
    feature: RefusalFeature,
    questions: Questions,
    settings: AuditSettings,
) -> Reference:
    """Ask both models, one after the other, so that they need not fit into memory together.

    Args:
        load_teacher, load_base: each gives its model when it is called.
        feature: the teacher's.
    """
    prompts = [*questions.harmful, *questions.ordinary]
    asked = {"harmful": questions.harmful, "ordinary": questions.ordinary, "settings": settings}
    probes = askable(tokenizer, PROBES)
    teacher = load_teacher()
    answers = ask_probes(teacher, tokenizer, probes, **asked)
    rows = opening_rows(tokenizer, questions.harmful, answers.said["plain"])
    labels = compute_soft_labels(
        teacher, rows, range(len(rows)), pad_id=int(tokenizer.pad_token_id), top_k=TOP_K, temperature=1.0
    )
    features = features_of(teacher, tokenizer, prompts, feature=feature)
    del teacher
    collect_garbage()
    base = ask_probes(load_base(), tokenizer, probes, **asked)
    return Reference(teacher=answers, base=base, feature=feature, features=features, labels=labels)
