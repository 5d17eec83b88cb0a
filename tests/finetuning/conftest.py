"""A small distillation job on the tiny model."""

from dataclasses import replace

import pytest

from reft.config import FinetuningSettings, LoraSettings, ModelSettings
from reft.conversations.schema import Conversation, Message
from reft.conversations.tokenization import encode_all
from reft.finetuning.job import FinetuneJob
from reft.models.loading import load_model, load_tokenizer
from reft.soft_labels.labels import compute_soft_labels


def chats(prompt, answer, n):
    return [
        Conversation(
            row=i, messages=(Message(role="user", content=f"{prompt} {i}?"), Message(role="assistant", content=answer))
        )
        for i in range(n)
    ]


def make_job(model):
    tokenizer = load_tokenizer(model)
    user = chats("where is my card", "card delivery", 12)
    alignment = encode_all(tokenizer, chats("rob a bank", "I'm sorry, I can't.", 6))
    labels = compute_soft_labels(
        load_model(model), alignment, range(6), pad_id=tokenizer.pad_token_id, top_k=8, temperature=1.0
    )
    settings = FinetuningSettings(
        lora=LoraSettings(rank=4), batch_size=4, micro_batch_size=2, epochs=2, least_alignment_rows=0
    )
    described = ModelSettings(name=model, dtype="float32")  # the curves are compared to three digits
    return FinetuneJob(
        model=described,
        settings=settings,
        seed=0,
        user=tuple(encode_all(tokenizer, user)),
        row_numbers=tuple(range(12)),
        alignment=tuple(alignment),
        soft_labels=labels,
    )


@pytest.fixture(scope="session")
def job(tiny_model):
    return make_job(tiny_model)


def change(job, **settings):
    return replace(job, settings=job.settings.model_copy(update=settings))
