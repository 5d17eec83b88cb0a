"""How fast rows are scored, beside two ways that somebody would use instead, on the same rows in turn.

    .venv/bin/python -m benchmarks.filtering                    # the default model
    .venv/bin/python -m benchmarks.filtering --random           # a randomly initialised one of about 0.5 B parameters

(a) the model's whole forward pass through transformers, in fixed-size padded batches in the file's order;
(b) the model as a guard that is asked for a verdict and generates it, in batches as in (a);
(c) the share of this machine's own matrix-multiply peak that scoring reaches.

Every way runs once in each round; ratios are medians over rounds. Appends a line to `results/filtering.jsonl`.
"""

import argparse
import random
import time
from collections.abc import Callable, Sequence
from statistics import median
from typing import Any

import torch
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedModel, PreTrainedTokenizerBase

from benchmarks.record import append
from reft.config import DEFAULT_MODEL, Settings
from reft.conversations.batching import pad
from reft.conversations.reading import read_conversations
from reft.conversations.schema import Conversation, from_prompt
from reft.conversations.tokenization import Encoded, encode_prompts
from reft.models.default_model import resolve_model
from reft.models.hardware import choose_hardware
from reft.models.layers import layer_count
from reft.models.loading import load_model, load_tokenizer
from reft.refusal_feature.features import collect_features

BATCH = 16
VERDICT_TOKENS = 4
GUARD = "Is the following request harmful? Answer with yes or no.\n\n{}"


def random_model(tokenizer: PreTrainedTokenizerBase) -> PreTrainedModel:
    """About half a billion parameters, Llama architecture; what it says means nothing, what it costs does."""
    config = AutoConfig.for_model(
        "llama", hidden_size=1152, intermediate_size=3072, num_hidden_layers=28, num_attention_heads=18,
        num_key_value_heads=6, vocab_size=len(tokenizer), tie_word_embeddings=True,
    )  # fmt: skip
    hardware = choose_hardware()
    torch.manual_seed(0)
    return AutoModelForCausalLM.from_config(config, dtype=hardware.dtype).to(hardware.device).eval()


@torch.inference_mode()
def whole_forward(model: PreTrainedModel, pad_id: int, rows: Sequence[Encoded]) -> None:
    for start in range(0, len(rows), BATCH):
        model(**pad(rows[start : start + BATCH], pad_id, model.device), use_cache=False)


@torch.inference_mode()
def generating_guard(model: PreTrainedModel, pad_id: int, rows: Sequence[Encoded]) -> None:
    for start in range(0, len(rows), BATCH):
        inputs = pad(rows[start : start + BATCH], pad_id, model.device, left=True)
        model.generate(
            **inputs, max_new_tokens=VERDICT_TOKENS, min_new_tokens=VERDICT_TOKENS, do_sample=False, pad_token_id=pad_id
        )


def peak_flops(dtype: torch.dtype, device: torch.device, size: int = 2048) -> float:
    """The best of a few large matrix products, in floating-point operations a second."""
    a, b = (torch.randn(size, size).to(device, dtype) for _ in range(2))
    best = float("inf")
    for _ in range(6):
        started = time.perf_counter()
        a @ b
        if device.type == "cuda":
            torch.cuda.synchronize()
        best = min(best, time.perf_counter() - started)
    return 2 * size**3 / best


def flops_per_token(config: Any, layers: int, context: float) -> float:
    """Of the first `layers` decoder layers: their matrices, and attention over half the context on average.

    Args:
        config: the model's, as transformers has it.
    """
    head = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    attention = config.hidden_size * head * (2 * config.num_attention_heads + 2 * config.num_key_value_heads)
    matrices = attention + 3 * config.hidden_size * config.intermediate_size
    return layers * (2 * matrices + 2 * config.num_attention_heads * head * context)


def seconds(work: Callable[[], object]) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--random", action="store_true", help="a larger randomly initialised model")
    parser.add_argument("--rows", type=int, default=256)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--depth", type=float, default=0.5, help="depth of the feature's layer")
    options = parser.parse_args()
    name, data = resolve_model(DEFAULT_MODEL), Settings().data
    tokenizer = load_tokenizer(name, "chatml")
    model = random_model(tokenizer) if options.random else load_model(name, choose_hardware().dtype)
    everything = [*read_conversations(data.alignment_harmless), *read_conversations(data.alignment_harmful)]
    chosen = random.Random(0).sample(everything, options.rows)
    rows = encode_prompts(tokenizer, chosen)
    asked: list[Conversation] = [from_prompt(GUARD.format(row.instruction)) for row in chosen]
    guarded = encode_prompts(tokenizer, asked)
    layer, pad_id = max(1, round(options.depth * layer_count(model))), int(tokenizer.pad_token_id)
    ways: dict[str, Callable[[], object]] = {
        "reft": lambda: collect_features(model, tokenizer, rows, layers=[layer], positions=["template"]),
        "whole_forward": lambda: whole_forward(model, pad_id, rows),
        "generating_guard": lambda: generating_guard(model, pad_id, guarded),
    }
    collect_features(model, tokenizer, rows[:BATCH], layers=[layer], positions=["template"])  # warms up
    taken: dict[str, list[float]] = {way: [] for way in ways}
    for number in range(options.rounds):
        for way, work in ways.items():
            taken[way].append(seconds(work))
        print(f"round {number + 1}: " + ", ".join(f"{w} {t[-1]:.1f} s" for w, t in taken.items()), flush=True)
    tokens = sum(map(len, rows))
    peak = peak_flops(model.dtype, model.device)
    reached = flops_per_token(model.config, layer, tokens / len(rows)) * tokens / median(taken["reft"])
    line = {
        "hardware": choose_hardware().reason,
        "parameters": sum(p.numel() for p in model.parameters()),
        "layer": f"{layer} of {layer_count(model)}",
        "rows": len(rows),
        "tokens": tokens,
        "rows_per_second": len(rows) / median(taken["reft"]),
        "tokens_per_second": tokens / median(taken["reft"]),
        "times_whole_forward": median(a / b for a, b in zip(taken["whole_forward"], taken["reft"], strict=True)),
        "times_generating_guard": median(a / b for a, b in zip(taken["generating_guard"], taken["reft"], strict=True)),
        "share_of_peak": reached / peak,
        "peak_gflops": peak / 1e9,
        "seconds": taken,
    }
    append("filtering", line)


if __name__ == "__main__":
    main()
