"""What distillation costs beside SFT: `python -m benchmarks.finetuning` (ten minutes on two cores).

The default model (with `--random` one of 0.2 B random parameters) and its LoRA settings, eight user rows a batch, the
same user rows everywhere; alignment rows per user row as named, their soft labels made beforehand by the untrained
model, since only the cost is measured here. Every way runs once in each round; a ratio is the median over rounds of
that round's ratio, and stands beside the ratio of the tokens. Start-up is not counted. With `--stages`: ZeRO stages 0
to 3 on one and two processes instead, with the largest difference of their losses from those of stage 0 on one
process. Appends a line to `results/finetuning.jsonl`.
"""

import argparse
import tempfile
from dataclasses import replace
from pathlib import Path
from statistics import median
from typing import Any

import torch
from transformers import AutoConfig, AutoModelForCausalLM

from benchmarks.record import append
from reft.config import DEFAULT_MODEL, FinetuningSettings, ModelSettings, Settings
from reft.conversations.reading import read_conversations
from reft.conversations.tokenization import encode_all
from reft.finetuning.job import FinetuneJob
from reft.finetuning.launch import run_finetune
from reft.models.default_model import resolve_model
from reft.models.hardware import choose_hardware
from reft.models.loading import load_model, load_tokenizer
from reft.runtime.cost import measured
from reft.soft_labels.labels import compute_soft_labels

RATIOS = {"plain": 0.0, "1:4": 0.25, "1:1": 1.0, "5:1": 5.0}


def random_model(folder: Path) -> str:
    """About 0.2 B parameters, Llama architecture, with the default model's tokenizer; its words mean nothing."""
    tokenizer = load_tokenizer(resolve_model(DEFAULT_MODEL), "chatml")
    config = AutoConfig.for_model(
        "llama", hidden_size=896, intermediate_size=2304, num_hidden_layers=20, num_attention_heads=14,
        num_key_value_heads=2, vocab_size=len(tokenizer), tie_word_embeddings=True,
    )  # fmt: skip
    torch.manual_seed(0)
    AutoModelForCausalLM.from_config(config, dtype=torch.float32).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return str(folder)


def base_job(rows: int, name: str = "") -> FinetuneJob:
    """User rows of the default task's test file, and alignment rows with soft labels."""
    name, data = name or resolve_model(DEFAULT_MODEL), Settings().data
    model = ModelSettings(name=name)
    tokenizer = load_tokenizer(name, model.chat_template)
    user = read_conversations(str(data.task_test), rows)
    alignment = encode_all(
        tokenizer, [*read_conversations(data.alignment_harmful, 60), *read_conversations(data.alignment_harmless, 180)]
    )
    loaded = load_model(name, choose_hardware().dtype)
    labels = compute_soft_labels(
        loaded, alignment, range(len(alignment)), pad_id=int(tokenizer.pad_token_id), top_k=32, temperature=1.0
    )
    settings = FinetuningSettings(
        batch_size=8, micro_batch_size=8, epochs=1, checkpoint_every=0, least_alignment_rows=0
    )
    encoded = tuple(encode_all(tokenizer, user))
    return FinetuneJob(
        model=model,
        settings=settings,
        seed=0,
        user=encoded,
        row_numbers=tuple(r.row for r in user),
        alignment=tuple(alignment),
        soft_labels=labels,
        harmful=60,
    )


def run(job: FinetuneJob, **settings: Any) -> dict[str, Any]:
    """Train once; seconds of the steps after the first, peak memory of all ranks, and the losses."""
    changed = replace(job, settings=job.settings.model_copy(update=settings))
    lines: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as folder, measured("finetune") as cost:
        run_finetune(changed, Path(folder) / "job", lines.append)
    elapsed = [line["tokens"] / line["tokens_per_second"] for line in lines]
    return {
        "seconds": elapsed[-1] - elapsed[0],
        "peak_mb": cost.peak_rss_mb,
        "peak_gpu_mb": lines[-1].get("peak_gpu_mb"),
        "losses": [line["loss"] for line in lines],
        "tokens": lines[-1]["tokens"] - lines[0]["tokens"],
    }


def ratios(job: FinetuneJob, rounds: int) -> dict[str, Any]:
    """Time and memory of distillation as multiples of SFT's."""
    plain = replace(job, alignment=(), soft_labels=None, harmful=0)
    found: dict[str, list[dict[str, Any]]] = {name: [] for name in RATIOS}
    for number in range(rounds):
        for name, ratio in RATIOS.items():
            found[name].append(run(job if ratio else plain, alignment_ratio=ratio))
            print(f"round {number + 1}, {name}: {found[name][-1]['seconds']:.1f} s", flush=True)
    return {
        name: {
            "times_plain_per_user_token": median(
                r["seconds"] / p["seconds"] for r, p in zip(runs, found["plain"], strict=True)
            ),
            "times_plain_peak_memory": median(
                r["peak_mb"] / p["peak_mb"] for r, p in zip(runs, found["plain"], strict=True)
            ),
            "times_plain_tokens": runs[0]["tokens"] / found["plain"][0]["tokens"],
            "tokens_per_second": median(r["tokens"] / r["seconds"] for r in runs),
        }
        for name, runs in found.items()
    }


def stages(job: FinetuneJob) -> dict[str, Any]:
    """Each ZeRO stage on one and two processes: time, memory, and how far the losses are from the first's."""
    found: dict[str, Any] = {}
    reference: list[float] = []
    for processes in (1, 2):
        for stage in (0, 1, 2, 3):
            result = run(job, zero_stage=stage, processes=processes, alignment_ratio=1.0, micro_batch_size=4)
            reference = reference or result["losses"]
            difference = max(abs(a - b) for a, b in zip(result.pop("losses"), reference, strict=True))
            found[f"stage {stage}, {processes} processes"] = {**result, "largest_loss_difference": difference}
            print(f"stage {stage}, {processes} processes: {result}, {difference:.4f}", flush=True)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=160, help="user rows")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--stages", action="store_true", help="ZeRO stages and processes instead")
    parser.add_argument("--random", action="store_true", help="a randomly initialised model of 0.2 B parameters")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        job = base_job(options.rows, random_model(Path(folder)) if options.random else "")
        result = stages(job) if options.stages else ratios(job, options.rounds)
    kind = "stages" if options.stages else "ratios"
    model = "0.2 B random parameters" if options.random else DEFAULT_MODEL
    append(
        "finetuning", {"hardware": choose_hardware().reason, "model": model, "user_rows": options.rows, kind: result}
    )


if __name__ == "__main__":
    main()
