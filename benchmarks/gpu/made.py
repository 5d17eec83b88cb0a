"""The model and the rows of these measurements, made once in a folder."""

from dataclasses import dataclass
from pathlib import Path

import torch
from transformers import AutoModelForCausalLM

from reft.config import DEFAULT_MODEL, FinetuningSettings, ModelSettings
from reft.conversations.tokenization import Encoded
from reft.finetuning.job import FinetuneJob
from reft.models.default_model import resolve_model
from reft.models.hardware import choose_hardware
from reft.models.loading import load_model, load_tokenizer
from reft.models.memory import collect_garbage
from reft.plan.shapes import model_config
from reft.soft_labels.labels import compute_soft_labels
from reft.storage.artifacts import read_json, write_json


@dataclass(frozen=True, kw_only=True)
class Sizes:
    """What is measured.

    Attributes:
        model: a size that `reft plan` knows, or a model's folder, whose shapes are taken.
        rows: user rows; a quarter as many alignment rows are distilled.
        tokens: of each row; the second half of a row is its answer.
        batch: user rows of an optimizer step.
    """

    model: str = "8b"
    rows: int = 96
    tokens: int = 512
    batch: int = 8


def make(sizes: Sizes, folder: Path) -> None:
    """Write the model and the distilled job below `folder`, unless they are there, of these sizes."""
    described = folder / "made.json"
    if described.is_file() and read_json(described) == vars(sizes):
        return
    described.unlink(missing_ok=True)
    model = _random_model(sizes.model, folder / "model")
    job = _job(model, sizes)
    job.save(folder / "job")
    write_json(described, vars(sizes))


def made(folder: Path) -> FinetuneJob:
    """The job that `make` wrote."""
    return FinetuneJob.load(folder / "job")


def _random_model(size: str, folder: Path) -> str:
    hardware = choose_hardware()
    torch.manual_seed(0)
    with hardware.device:
        model = AutoModelForCausalLM.from_config(model_config(size), dtype=hardware.dtype)
    model.save_pretrained(folder)
    own = (Path(size) / "tokenizer.json").is_file()
    load_tokenizer(size if own else resolve_model(DEFAULT_MODEL), "chatml").save_pretrained(folder)
    del model
    collect_garbage()
    return str(folder)


def random_rows(count: int, sizes: Sizes, vocabulary: int) -> list[Encoded]:
    """Rows of one turn whose tokens mean nothing."""
    answer = sizes.tokens // 2
    drawn = torch.randint(vocabulary, (count, sizes.tokens), generator=torch.Generator().manual_seed(0))
    span = (answer, sizes.tokens)
    return [
        Encoded(
            input_ids=tuple(ids), turns=((0, answer), span), completion=span, instruction_end=answer - 2,
            prompt_end=answer - 1, learnt=(span,),
        )
        for ids in drawn.tolist()
    ]  # fmt: skip


def _job(name: str, sizes: Sizes) -> FinetuneJob:
    settings = FinetuningSettings(
        batch_size=sizes.batch, micro_batch_size=sizes.batch, epochs=1, checkpoint_every=0, least_alignment_rows=0,
        alignment_ratio=0.25, schedule="constant", warmup_share=0.0,
    )  # fmt: skip
    hardware = choose_hardware()
    model = load_model(name, hardware.dtype, device=hardware.device)
    rows = random_rows(sizes.rows + sizes.rows // 4, sizes, model.config.get_text_config().vocab_size)
    alignment = tuple(rows[sizes.rows :])
    labels = compute_soft_labels(model, alignment, range(len(alignment)), pad_id=0, top_k=32, temperature=1.0)
    return FinetuneJob(
        model=ModelSettings(name=name), settings=settings, seed=0, user=tuple(rows[: sizes.rows]),
        row_numbers=tuple(range(sizes.rows)), alignment=alignment, harmful=len(alignment) // 4, soft_labels=labels,
    )  # fmt: skip
