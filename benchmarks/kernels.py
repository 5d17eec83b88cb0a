"""What the CPU does well: `python -m benchmarks.kernels` (a minute).

(a) Forward and backward through SmolLM2-135M with LoRA, without torch's fused attention against with it, by the
length of the rows. (b) Scoring up to half the depth, by the number of tokens that run at once, against 4096.
`reft.models.hardware` follows these. Every way runs once in each round, ratios are medians over rounds.
Appends a line to `results/kernels.jsonl`.
"""

import argparse
import random
from statistics import median

import torch

from benchmarks.filtering import seconds
from benchmarks.record import append
from reft.config import DEFAULT_MODEL, LoraSettings, Settings
from reft.conversations.reading import read_conversations
from reft.conversations.tokenization import encode_prompts
from reft.models.adapters import wrap_lora
from reft.models.default_model import resolve_model
from reft.models.hardware import choose_hardware
from reft.models.head import hidden_states
from reft.models.layers import layer_count
from reft.models.loading import load_model, load_tokenizer
from reft.models.memory import return_freed_memory
from reft.refusal_feature.features import collect_features

ROUNDS = 3
SHAPES = ((12, 48), (12, 128), (4, 256), (2, 512))
BUDGETS = (256, 768, 1536, 4096)


def attention_seconds() -> dict[str, float]:
    """Time without fused attention as a share of the time with it, by rows and tokens a row."""
    base = load_model(resolve_model(DEFAULT_MODEL), choose_hardware().dtype)
    model = wrap_lora(base, LoraSettings())
    model.train()
    found = {}
    for rows, length in SHAPES:
        ids = torch.randint(100, 4000, (rows, length), generator=torch.Generator().manual_seed(0))
        mask = torch.ones_like(ids)
        mask[0, length // 2 :] = 0

        def steps(ids: torch.Tensor = ids, mask: torch.Tensor = mask) -> None:
            for _ in range(4):
                hidden_states(model, ids, mask).float().pow(2).mean().backward()

        ratios = []
        for _ in range(ROUNDS):
            taken = []
            for kind in ("eager", "sdpa"):
                base.set_attn_implementation(kind)
                taken.append(seconds(steps))
            ratios.append(taken[0] / taken[1])
            return_freed_memory()
        found[f"{rows} rows of {length}"] = median(ratios)
    return found


def budget_seconds() -> dict[str, float]:
    """Time of scoring 256 prompts as a share of that with 4096 tokens at once, by tokens at once."""
    name, data = resolve_model(DEFAULT_MODEL), Settings().data
    model, tokenizer = load_model(name, choose_hardware().dtype), load_tokenizer(name, "chatml")
    everything = [*read_conversations(data.alignment_harmless), *read_conversations(data.alignment_harmful)]
    rows = encode_prompts(tokenizer, random.Random(0).sample(everything, 256))
    layer = layer_count(model) // 2
    taken: dict[int, list[float]] = {budget: [] for budget in BUDGETS}
    for _ in range(ROUNDS):
        for budget, times in taken.items():
            times.append(
                seconds(
                    lambda b=budget: collect_features(
                        model, tokenizer, rows, layers=[layer], positions=["template"], tokens_per_batch=b
                    )
                )
            )
    whole = taken[BUDGETS[-1]]
    return {str(b): median(x / y for x, y in zip(times, whole, strict=True)) for b, times in taken.items()}


def main() -> None:
    argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter).parse_args()
    line = {
        "hardware": choose_hardware().reason,
        "threads": torch.get_num_threads(),
        "without_fused_attention": attention_seconds(),
        "tokens_at_once": budget_seconds(),
    }
    print(line)
    append("kernels", line)


if __name__ == "__main__":
    main()
