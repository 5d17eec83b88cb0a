"""A guard model as a scorer: what a model that was trained to judge says, read from its verdict token.

    filtering: {scorer: guard, scorer_settings: {model: FOLDER, kind: llama-guard}}

A guard reads each text in its own chat template, which holds its policy, and begins its answer with one of two
words. The probability of the harmful one, against the other, is the score: no text is generated.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal

import torch
from pydantic import Field

from reft.config import FilteringSettings, Section
from reft.conversations.batching import length_batches, pad
from reft.conversations.schema import Conversation, from_prompt
from reft.conversations.templates import render
from reft.conversations.tokenization import Encoded, encode_prompts, encode_text
from reft.errors import ModelError, explain
from reft.filtering.inputs import ScorerInputs
from reft.filtering.scoring import RowScore, score_parts
from reft.models.hardware import choose_hardware, tokens_at_once
from reft.models.loading import load_model, load_tokenizer
from reft.plugins import options_of
from reft.refusal_feature.extraction import LabelledPrompts
from reft.runtime.progress import Report
from reft.storage.fingerprint import of_path

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase


@dataclass(frozen=True, kw_only=True)
class GuardKind:
    """How a family of guards is asked and answers.

    Attributes:
        harmless, harmful: the two verdicts.
        before: what the guard writes before its verdict.
        preamble: Jinja that sets what its chat template wants to know.
        template: a chat template for a family whose tokenizers have none.
    """

    harmless: str
    harmful: str
    before: str = ""
    preamble: str = ""
    template: str | None = None


# Asked in our own words, since its tokenizer brings no template; a Jinja file with its authors' prompt does better.
WILDGUARD = (
    "<|user|>\n[INST] Judge this exchange of a person with an assistant: is the request harmful, is the answer a "
    "refusal, is the answer harmful?\n\nHuman user:\n"
    "{% for message in messages %}{{ message['content'] }}{% endfor %}"
    "\n\nAI assistant:\n\n\n---\n\nAnswers: [/INST]\n<|assistant|>\n"
)
POLICY = "The text must not ask for, plan or give help with anything that hurts people, property or the law."
GUARD_KINDS = {
    "llama-guard": GuardKind(harmless="safe", harmful="unsafe", before="\n\n"),
    "shieldgemma": GuardKind(harmless="No", harmful="Yes", preamble=f'{{% set guideline = "{POLICY}" %}}'),
    "granite-guardian": GuardKind(
        harmless="No", harmful="Yes", preamble='{% set guardian_config = {"risk_name": "harm"} %}'
    ),
    "wildguard": GuardKind(harmless="no", harmful="yes", before="Harmful request: ", template=WILDGUARD),
}


@dataclass(frozen=True, kw_only=True)
class Guard:
    """A loaded guard.

    Attributes:
        before: the tokens between a prompt and the verdict.
        verdicts: the harmless and the harmful verdict's token.
        mass: the probability of the two together after a plain question; near 1 if the guard answers as its kind does.
    """

    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    before: tuple[int, ...]
    verdicts: tuple[int, int]
    mass: float = 1.0

    def read(self, prompts: Sequence[Encoded]) -> list[float]:
        """2 p - 1 in [-1, 1] of every prompt, where p is the harmful verdict's probability against the other's."""
        return [math.tanh((harmful - harmless) / 2) for harmless, harmful in self.log_probabilities(prompts)]

    @torch.inference_mode()
    def log_probabilities(self, prompts: Sequence[Encoded]) -> list[tuple[float, float]]:
        """Of the harmless and of the harmful verdict, among all tokens, after every prompt."""
        rows = [
            Encoded(
                input_ids=(*p.input_ids, *self.before), turns=(), completion=(0, 0), instruction_end=0, prompt_end=0
            )
            for p in prompts
        ]
        found = [(0.0, 0.0)] * len(rows)
        model: Any = self.model
        for batch in length_batches([len(row) for row in rows], tokens_at_once(model.device)):
            inputs = pad([rows[i] for i in batch], int(self.tokenizer.pad_token_id), model.device, left=True)
            positions = (inputs["attention_mask"].cumsum(-1) - 1).clamp(min=0)
            logits = model(**inputs, position_ids=positions, use_cache=False, logits_to_keep=1).logits[:, -1]
            pairs = logits.float().log_softmax(-1)[:, list(self.verdicts)].tolist()
            for index, (harmless, harmful) in zip(batch, pairs, strict=True):
                found[index] = harmless, harmful
        return found


class GuardSettings(Section):
    """Which guard, and how it is asked."""

    model: str = Field(description="its folder or hub id")
    kind: Literal["llama-guard", "shieldgemma", "granite-guardian", "wildguard"] = Field(
        "llama-guard", description="its family, which says how it answers"
    )
    template: str | None = Field(None, description="Jinja file with its prompt; none: its own")


SETTINGS = GuardSettings


@dataclass(frozen=True, kw_only=True)
class GuardScorer:
    """A guard; rows are read text by text, since its template knows few roles. `name` is its family."""

    name: str
    guard: Guard
    calibration: LabelledPrompts
    fingerprint: str = ""
    reads: str = "its verdict token"

    @property
    def details(self) -> dict[str, Any]:
        """Nothing for programs."""
        return {}

    @property
    def doubts(self) -> list[str]:
        """Whether it answers as a guard of its kind does."""
        if self.guard.mass >= 0.5:
            return []
        return [
            f"the guard's two verdicts hold only {self.guard.mass:.1%} of the probability after a plain question: "
            f"is it a {self.name}, and of a version that answers with its verdict at once?"
        ]

    def score(
        self, rows: Sequence[Conversation], settings: FilteringSettings, *, report: Report | None = None
    ) -> list[RowScore]:
        """Its verdict on every part of every row."""
        guard = self.guard
        return score_parts(guard.tokenizer, rows, settings, read=guard.read, in_context=False, report=report)


def load(inputs: ScorerInputs) -> GuardScorer:
    """The guard that the options name, calibrated on prompts as the refusal feature is."""
    chosen = options_of(SETTINGS, inputs.options, "filtering.scorer_settings")
    guard = load_guard(chosen.model, chosen.kind, chosen.template)
    given = inputs.calibration
    harmful, harmless = (
        [Conversation(row=c.row, messages=c.prompt) for c in rows] for rows in (given.harmful, given.harmless)
    )
    parts = [of_path(chosen.model), chosen.kind, str(guard.tokenizer.chat_template), str(guard.model.dtype)]
    return GuardScorer(
        name=chosen.kind,
        guard=guard,
        calibration=LabelledPrompts(harmful, harmless, given.harmless_weights),
        fingerprint=":".join([inputs.identity, *parts]),
    )


def load_guard(name: str, kind: str, template: str | None = None, *, trust_remote_code: bool = False) -> Guard:
    """The guard in a local folder or under a hub id.

    Args:
        kind: one of `GUARD_KINDS`.
        template: a Jinja file that replaces the chat template.

    Raises:
        ModelError: an unknown kind, a model that cannot be loaded, or verdicts that begin with the same token.
    """
    if kind not in GUARD_KINDS:
        raise ModelError(explain(f"no such kind of guard: {kind}", name, f"name one of {', '.join(GUARD_KINDS)}"))
    described = GUARD_KINDS[kind]
    tokenizer = load_tokenizer(name, template or ("auto" if described.template else "own"), trust_remote_code)
    if described.template and not template:
        tokenizer.chat_template = described.template
    tokenizer.chat_template = described.preamble + str(tokenizer.chat_template)
    model = load_model(name, choose_hardware().dtype, trust_remote_code=trust_remote_code)
    asked = render(tokenizer, [{"role": "user", "content": "Hello"}], generation_prompt=True)
    before = "" if described.before and asked.endswith(described.before) else described.before
    tokens = [encode_text(tokenizer, before + verdict) for verdict in (described.harmless, described.harmful)]
    shared = next((i for i, (a, b) in enumerate(zip(*tokens, strict=False)) if a != b), None)
    if shared is None:
        raise ModelError(explain("the two verdicts begin with the same tokens", name, "name the guard's own kind"))
    guard = Guard(
        model=model,
        tokenizer=tokenizer,
        before=tuple(tokens[0][:shared]),
        verdicts=(tokens[0][shared], tokens[1][shared]),
    )
    question = encode_prompts(tokenizer, [from_prompt("What is the capital of France?")])
    return replace(guard, mass=sum(map(math.exp, guard.log_probabilities(question)[0])))
