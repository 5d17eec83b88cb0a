"""The refusal feature as a scorer: the teacher's own, or the start model's where that separates better."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from transformers import PreTrainedModel, PreTrainedTokenizerBase

from reft.config import FilteringSettings
from reft.conversations.schema import Conversation
from reft.conversations.tokenization import Encoded
from reft.filtering.inputs import ScorerInputs
from reft.filtering.scoring import RowScore, score_parts
from reft.plugins import no_options
from reft.refusal_feature.extraction import LabelledPrompts
from reft.refusal_feature.feature import RefusalFeature
from reft.refusal_feature.features import collect_features
from reft.runtime.progress import Report
from reft.teacher.preparation import load_start, load_teacher

READ_BY = {"mean": "the difference of means", "probe": "a linear probe"}


@dataclass(frozen=True, kw_only=True)
class RefusalFeatureScorer:
    """A model and the refusal feature that it is read with; `name` is "teacher" or "untrained"."""

    name: str
    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    feature: RefusalFeature
    calibration: LabelledPrompts
    fingerprint: str = ""

    @property
    def reads(self) -> str:
        """Layer, token and direction."""
        feature = self.feature
        return f"layer {feature.layer}, {feature.position} token, read by {READ_BY[feature.readout]}"

    @property
    def details(self) -> dict[str, Any]:
        """Layer, token and direction."""
        return {"layer": self.feature.layer, "position": self.feature.position, "readout": self.feature.readout}

    @property
    def doubts(self) -> list[str]:
        """None of its own."""
        return []

    def score(
        self, rows: Sequence[Conversation], settings: FilteringSettings, *, report: Report | None = None
    ) -> list[RowScore]:
        """s(x) of every part of every row; only the first layers run."""
        return score_parts(self.tokenizer, rows, settings, read=self._read, report=report)

    def _read(self, prompts: Sequence[Encoded]) -> list[float]:
        feature = self.feature
        found = collect_features(
            self.model, self.tokenizer, prompts, layers=[feature.layer], positions=[feature.position]
        )
        return feature.score(found[:, 0, 0]).tolist()


def load(inputs: ScorerInputs) -> RefusalFeatureScorer:
    """The trained teacher, or the untrained start model where that was asked for or separates better."""
    no_options(inputs.options, "filtering.scorer_settings")
    teacher = inputs.teacher
    if teacher is not None and teacher.beats_untrained and not inputs.prefers_untrained:
        # The layers above the one that is read are never loaded.
        name, feature = "teacher", teacher.feature
        model, tokenizer = load_teacher(teacher, inputs.model, feature.layer)
    else:
        name, feature = "untrained", inputs.untrained
        model, tokenizer = load_start(inputs.model, feature.layer)
    return RefusalFeatureScorer(
        name=name,
        model=model,
        tokenizer=tokenizer,
        feature=feature,
        calibration=inputs.calibration,
        fingerprint=f"{inputs.identity}:{name}:{model.dtype}",
    )
