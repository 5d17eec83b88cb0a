"""The refusal feature as a scorer: the teacher's own, or the start model's where that separates better.

    filtering: {scorer_settings: {readout: layer}}    # the direction of one layer, and not all of them

A teacher is read at many layers at once. What falls into many sentences has many chances that one of them reads as
somewhat harmful, so a piece that is nearer to the harmless prompts than to the harmful ones says next to nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from math import tanh
from typing import TYPE_CHECKING, Any, Literal

from reft.config import FilteringSettings
from reft.config.sections import Section
from reft.conversations.schema import Conversation
from reft.conversations.tokenization import Encoded
from reft.filtering.inputs import ScorerInputs
from reft.filtering.scoring import RowScore, score_parts
from reft.plugins import options_of
from reft.refusal_feature.extraction import LabelledPrompts
from reft.refusal_feature.feature import RefusalFeature
from reft.refusal_feature.features import collect_features
from reft.refusal_feature.layered import LayeredFeature
from reft.runtime.progress import Report
from reft.teacher.preparation import load_start, load_teacher

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

READ_BY = {"mean": "the difference of means", "probe": "a linear probe"}
# How many times as far below the midpoint between the class means a piece counts. Above it a piece counts in full,
# however many there are, or a request could be hidden behind enough of them (`benchmarks/readouts.py`).
DISCOUNT = 6.0


class ReadoutSettings(Section):
    """Options of this scorer."""

    readout: Literal["layers", "layer"] = "layers"


SETTINGS = ReadoutSettings


@dataclass(frozen=True, kw_only=True)
class RefusalFeatureScorer:
    """A model and the refusal feature that it is read with; `name` is "teacher" or "untrained".

    Attributes:
        layered: the same over many layers; None: the feature's own layer is read.
    """

    name: str
    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    feature: RefusalFeature
    calibration: LabelledPrompts
    layered: LayeredFeature | None = None
    fingerprint: str = ""

    @property
    def reads(self) -> str:
        """Layers, tokens and readout."""
        feature = self.feature
        if self.layered:
            first, *_, last = self.layered.layers
            where = "both tokens and every token of a request" if self.layered.tokens else "both tokens"
            return f"layers {first} to {last}, {where}, read by a linear discriminant"
        return f"layer {feature.layer}, {feature.position} token, read by {READ_BY[feature.readout]}"

    @property
    def details(self) -> dict[str, Any]:
        """Layers, tokens and readout."""
        found = {"layer": self.feature.layer, "position": self.feature.position, "readout": self.feature.readout}
        if self.layered:
            every = self.layered.tokens is not None
            found |= {"layers": list(self.layered.layers), "readout": "discriminant", "every_token": every}
        return found

    @property
    def doubts(self) -> list[str]:
        """None of its own."""
        return []

    def score(
        self, rows: Sequence[Conversation], settings: FilteringSettings, *, report: Report | None = None
    ) -> list[RowScore]:
        """s(x) of every part of every row, in [-1, 1]; only the first layers run."""
        layered = self.layered
        if not layered:
            return score_parts(self.tokenizer, rows, settings, read=self._read, report=report)

        def read(prompts: Sequence[Encoded], *, pieces: bool = False) -> list[float]:
            found = layered.read(self.model, self.tokenizer, prompts, pieces=pieces)
            return [tanh(of_piece(score) if pieces else score) for score in found]

        return score_parts(
            self.tokenizer, rows, settings, read=read, read_pieces=partial(read, pieces=True), report=report
        )

    def _read(self, prompts: Sequence[Encoded]) -> list[float]:
        feature = self.feature
        found = collect_features(
            self.model, self.tokenizer, prompts, layers=[feature.layer], positions=[feature.position]
        )
        return feature.score(found[:, 0, 0]).tolist()


def of_piece(score: float) -> float:
    """What a piece that reads so counts beside whole texts; 0 is the midpoint between the class means."""
    return score if score > 0 else DISCOUNT * score


def load(inputs: ScorerInputs) -> RefusalFeatureScorer:
    """The trained teacher, or the untrained start model where that was asked for or separates better."""
    options = options_of(SETTINGS, inputs.options, "filtering.scorer_settings")
    teacher, layered = inputs.teacher, None
    if teacher is not None and teacher.beats_untrained and not inputs.prefers_untrained:
        # The layers above the one that is read are never loaded.
        name, feature = "teacher", teacher.feature
        layered = teacher.layered if options.readout == "layers" else None
        model, tokenizer = load_teacher(teacher, inputs.model, max(layered.layers) if layered else feature.layer)
    else:
        name, feature = "untrained", inputs.untrained
        model, tokenizer = load_start(inputs.model, feature.layer)
    return RefusalFeatureScorer(
        name=name,
        model=model,
        tokenizer=tokenizer,
        feature=feature,
        calibration=inputs.calibration,
        layered=layered,
        fingerprint=f"{inputs.identity}:{name}:{options.readout}:{model.dtype}",
    )
