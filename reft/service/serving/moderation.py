"""The refusal feature's score of a text, in OpenAI's form.

It says how surely a text asks for harm, or gives it, and nothing of which kind: the score stands under a category of
its own, `refusal_feature`. The categories of OpenAI's moderation are there because its SDKs want them; they apply to no
kind of input, and their scores are 0.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from reft.config.serving import variable
from reft.conversations.schema import Conversation
from reft.errors import StorageError
from reft.service.errors import NO_RETRY, ApiError, invalid
from reft.service.service import Service
from reft.service.teachers import teacher_of

if TYPE_CHECKING:
    from reft.filtering.filter import Filter

MODEL = "refusal-feature"
OURS = "refusal_feature"
LETTERS = 8  # of a token, generously: a text is scored in windows, so that this bounds work and not what is read
# Seconds in which the newest teacher stays that: jobs end in processes of their own, so that only the file store tells
# of another one, with two requests where it is a bucket.
NEWEST_FOR = 10.0
OPENAIS = (
    "harassment", "harassment/threatening", "hate", "hate/threatening", "illicit", "illicit/violent", "self-harm",
    "self-harm/instructions", "self-harm/intent", "sexual", "sexual/minors", "violence", "violence/graphic",
)  # fmt: skip


@dataclass(frozen=True)
class Verdict:
    """A text's score in [-1, 1], and the one above which the filter takes a row out."""

    score: float
    threshold: float

    @property
    def flagged(self) -> bool:
        """Whether a row with such a text would not be trained on."""
        return self.score > self.threshold

    @property
    def share(self) -> float:
        """The score as OpenAI's are, between 0 and 1."""
        return min(max((self.score + 1) / 2, 0.0), 1.0)


class Moderator:
    """The teacher that moderates, read again when another takes its place; used by one thread."""

    def __init__(self, service: Service) -> None:
        self._service = service
        self._folder: Path | None = None
        self._filter: Filter | None = None
        self._asked = 0.0  # when it was looked which teacher that is

    def verdicts(self, rows: Sequence[Conversation]) -> list[Verdict]:
        """The verdict about each.

        Raises:
            ApiError: there is no teacher, or a text is too long or cannot be scored.
        """
        chosen = self._calibrated()
        self._check_size(chosen, rows)
        scored = chosen.scorer.score(rows, chosen.settings)
        if not all(found.parts for found in scored):
            raise invalid("There is a text that the teacher cannot read.", "input")
        thresholds = chosen.calibration.thresholds
        return [
            Verdict(found.deciding.score, thresholds.of(row).quarantine)
            for row, found in zip(rows, scored, strict=True)
        ]

    def _check_size(self, chosen: "Filter", rows: Sequence[Conversation]) -> None:
        most = self._service.chat_limits.prompt_tokens or chosen.settings.longest
        for row in rows:
            letters = sum(len(text) for message in row.messages for text in message.texts)
            if letters > most * LETTERS:
                message = f"{letters} characters, more than the limit of {most * LETTERS} ({variable('prompt_tokens')})"
                raise invalid(message, "input")

    def _calibrated(self) -> "Filter":
        from reft.filtering.filter import Filter
        from reft.filtering.inputs import read_inputs
        from reft.filtering.provider import calibrations_beside
        from reft.filtering.scorers import load_scorer

        filtering, now = self._service.run_settings.filtering, time.monotonic()
        if self._filter is not None and now < self._asked + NEWEST_FOR:
            return self._filter
        try:
            folder = teacher_of(self._service)
            if self._filter is None or folder != self._folder:
                inputs = replace(read_inputs(folder), options=filtering.scorer_settings)
                scorer, beside = load_scorer(filtering.scorer, inputs), calibrations_beside(folder)
                kept = beside if beside.is_dir() else self._service.settings.state.absolute() / "calibrations"
                self._filter, self._folder = Filter.calibrated(scorer, filtering, kept_in=kept), folder
        except StorageError as error:
            message = "There is no teacher to moderate with yet: a finished job or run, or service.teacher, gives one."
            raise ApiError(503, message, code="moderation_unavailable", headers=NO_RETRY) from error
        self._asked = now
        return self._filter


def result(verdict: Verdict) -> dict[str, Any]:
    """A result of `/v1/moderations`."""
    names = (*OPENAIS, OURS)
    return {
        "flagged": verdict.flagged,
        "categories": {name: name == OURS and verdict.flagged for name in names},
        "category_scores": {name: verdict.share if name == OURS else 0.0 for name in names},
        "category_applied_input_types": {name: ["text"] if name == OURS else [] for name in names},
        "score": verdict.score,
        "threshold": verdict.threshold,
    }


def part(verdict: Verdict | ApiError) -> dict[str, Any]:
    """What a chat completion says of its input, or its output."""
    if isinstance(verdict, ApiError):
        return {"type": "error", "code": verdict.code or "moderation_failed", "message": str(verdict.detail)}
    whole = result(verdict)
    ours = {name: {OURS: whole[name][OURS]} for name in ("categories", "category_scores")}
    applied = {OURS: whole["category_applied_input_types"][OURS]}
    one = {
        "type": "moderation_result", "model": MODEL, "flagged": verdict.flagged, **ours,
        "category_applied_input_types": applied, "score": verdict.score, "threshold": verdict.threshold,
    }  # fmt: skip
    return {"type": "moderation_results", "model": MODEL, "results": [one]}
