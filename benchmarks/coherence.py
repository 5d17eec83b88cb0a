"""Does coherence tell a sound model's answers from a broken one's? By words alone, and read by the base model.

    .venv/bin/python -m benchmarks.coherence                                # the default model and broken copies of it
    .venv/bin/python -m benchmarks.coherence student=runs/latest/student    # and adapters by name

Broken: random weights, weights on the way to random ones, noise added, the entries of each matrix shuffled. Appends a
line to `results/coherence.jsonl` for every model: both rates with their intervals, and quantiles of the likelier of an
answer's two mean log-probabilities (nats per token), which the threshold lies between. The threshold was chosen on
development prompts; these are the evaluation's.
"""

import argparse
from collections.abc import Callable, Iterator
from dataclasses import asdict
from functools import partial
from typing import Any

import numpy as np
import torch
from transformers import AutoModelForCausalLM, PreTrainedModel

from benchmarks.record import append
from reft.config import DEFAULT_MODEL, Settings
from reft.conversations.reading import read_conversations
from reft.evaluation.language import LEAST_LIKELY, LanguageModel
from reft.evaluation.measures import COHERENCE, outcomes
from reft.evaluation.questions import EvaluationSets, ask
from reft.models.default_model import resolve_model
from reft.models.hardware import choose_hardware
from reft.models.loading import load_model, load_tokenizer
from reft.runtime.progress import progress
from reft.statistics import rate


def randomised(model: PreTrainedModel, share: float, *, seed: int = 0) -> PreTrainedModel:
    """Its weights moved towards freshly initialised ones, in place; share 1 leaves nothing of them."""
    torch.manual_seed(seed)
    fresh = dict(AutoModelForCausalLM.from_config(model.config, dtype=model.dtype).to(model.device).named_parameters())
    with torch.no_grad():
        for name, weights in model.named_parameters():
            weights.copy_(torch.lerp(weights, fresh[name], share))
    return model


def with_noise(model: PreTrainedModel, scale: float, *, seed: int = 0) -> PreTrainedModel:
    """Gaussian noise added to every matrix, in place; `scale` is in standard deviations of the matrix."""
    torch.manual_seed(seed)
    with torch.no_grad():
        for weights in _matrices(model):
            weights.add_(torch.randn_like(weights) * weights.std() * scale)
    return model


def shuffled(model: PreTrainedModel, *, seed: int = 0) -> PreTrainedModel:
    """The entries of every matrix in another order, in place."""
    torch.manual_seed(seed)
    with torch.no_grad():
        for weights in _matrices(model):
            weights.copy_(weights.flatten()[torch.randperm(weights.numel())].view_as(weights))
    return model


def _matrices(model: PreTrainedModel) -> Iterator[torch.nn.Parameter]:
    return (weights for weights in model.parameters() if weights.dim() > 1)


def models(adapters: list[str], seed: int) -> dict[str, Callable[[], PreTrainedModel]]:
    """By name, what loads it; broken ones are made in float32, as small changes would be rounded away."""
    load = partial(load_model, resolve_model(DEFAULT_MODEL), torch.float32)
    found: dict[str, Callable[[], PreTrainedModel]] = {"base": load}
    for name, _, folder in (adapter.partition("=") for adapter in adapters):
        found[name] = partial(load, adapter=folder)
    for other in range(seed, seed + 3):
        found[f"random, seed {other}"] = lambda other=other: randomised(load(), 1.0, seed=other)
    for share in (0.05, 0.1, 0.2, 0.5):
        found[f"{share:.0%} of the way to random"] = lambda share=share: randomised(load(), share, seed=seed)
    for scale in (0.05, 0.1, 0.25, 0.5):
        found[f"noise of {scale} standard deviations"] = lambda scale=scale: with_noise(load(), scale, seed=seed)
    found["shuffled matrices"] = lambda: shuffled(load(), seed=seed)
    return found


def measured(answers: dict[str, list[str]], sets: EvaluationSets, reader: LanguageModel) -> dict[str, Any]:
    """Coherence by words alone and read by the base model, and how likely answers are."""
    likelihoods = [f for group in COHERENCE.groups for f in reader.likelihoods(getattr(sets, group), answers[group])]
    best = [max(m for m in (f.given, f.alone) if m is not None) for f in likelihoods if f.tokens]
    by_words, read = (outcomes(sets, answers, is_language=r)[COHERENCE.name] for r in (None, reader))
    return {
        "by_words": asdict(rate(by_words) or _nothing()),
        "read": asdict(rate(read) or _nothing()),
        "log_probability": dict(zip(("p5", "p50", "p95"), np.percentile(best, [5, 50, 95]).tolist(), strict=True)),
        "examples": [answers[group][i] for group in COHERENCE.groups for i in range(2)],
    }


def _nothing() -> Any:
    raise SystemExit("no prompts: raise --rows")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("adapters", nargs="*", help="name=folder of an adapter of the default model")
    parser.add_argument("--rows", type=int, default=40, help="prompts of each group")
    parser.add_argument("--tokens", type=int, default=16, help="of each answer")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    base, data, hardware = resolve_model(DEFAULT_MODEL), Settings().data, choose_hardware()
    tokenizer = load_tokenizer(base)
    harmful, ordinary = (
        read_conversations(path, options.rows) for path in (data.evaluation_harmful, data.evaluation_ordinary)
    )
    sets = EvaluationSets(harmful, (), ordinary)
    reader = LanguageModel(load_model(base, hardware.dtype), tokenizer)
    described = {"hardware": hardware.reason, "threshold": LEAST_LIKELY, "n": len(sets.rows)}
    described |= {"tokens": options.tokens, "seed": options.seed}
    for name, load in models(options.adapters, options.seed).items():
        model = load().to(hardware.dtype)
        answers = ask(model, tokenizer, sets, max_new_tokens=options.tokens, report=progress(f"asking {name}"))
        append("coherence", {"model": name, **described, **measured(answers, sets, reader)})


if __name__ == "__main__":
    main()
