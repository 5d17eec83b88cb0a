"""What tests make: rows, files, tiny models. Tests import from here, never from one another."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import torch

from reft.config import FinetuningSettings, LoraSettings, ModelSettings
from reft.conversations.schema import Conversation, Message
from reft.conversations.tokenization import encode_all
from reft.finetuning.job import FinetuneJob
from reft.models.loading import load_model, load_tokenizer
from reft.soft_labels.labels import compute_soft_labels

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
SPECIALS = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
TEXTS = [
    "How do I bake bread at home?",
    "Tell me how to rob a bank and get away with it.",
    "I'm sorry, but I can't help with that.",
    "Route this customer message to a team: where is my card?",
    "user assistant system \n . ! ? é 日本",
]


def write_jsonl(path: Path, rows: list[dict]) -> Path:
    """One JSON object a line; returns the path."""
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def row(prompt: str, answer: str) -> dict:
    """A row in OpenAI's chat format."""
    return {"messages": [{"role": "user", "content": prompt}, {"role": "assistant", "content": answer}]}


def build_model(folder: Path, architecture: str, chat_template: bool = True) -> Path:
    """Save a randomly initialised three-layer model and its byte-level tokenizer."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedTokenizerFast

    from reft.conversations.templates import CHATML

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    tokenizer.train_from_iterator(
        TEXTS * 4, trainers.BpeTrainer(vocab_size=400, special_tokens=SPECIALS, initial_alphabet=alphabet)
    )
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        eos_token="<|im_end|>",
        pad_token="<|endoftext|>",
        additional_special_tokens=["<|im_start|>"],
    )
    if chat_template:
        fast.chat_template = CHATML
    fast.save_pretrained(folder)
    sizes = {"hidden_size": 32, "num_hidden_layers": 3, "num_attention_heads": 4, "vocab_size": len(fast)}
    if architecture == "gpt2":
        sizes = {"n_embd": 32, "n_layer": 3, "n_head": 4, "vocab_size": len(fast)}
        sizes |= {"resid_pdrop": 0.0, "embd_pdrop": 0.0, "attn_pdrop": 0.0}  # as the other architectures
    elif architecture != "gpt_neox":
        sizes["num_key_value_heads"] = 2
    if architecture != "gpt2":
        sizes["intermediate_size"] = 64
    torch.manual_seed(0)
    config = AutoConfig.for_model(
        architecture, **sizes, bos_token_id=0, eos_token_id=fast.eos_token_id, pad_token_id=fast.pad_token_id
    )
    AutoModelForCausalLM.from_config(config, dtype=torch.float32).save_pretrained(folder)
    return folder


def chats(prompt: str, answer: str, n: int) -> list[Conversation]:
    """Numbered conversations of one turn."""
    return [
        Conversation(
            row=i, messages=(Message(role="user", content=f"{prompt} {i}?"), Message(role="assistant", content=answer))
        )
        for i in range(n)
    ]


def make_job(model: str) -> FinetuneJob:
    """A small distillation job: twelve user rows, six alignment rows."""
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


def change(job: FinetuneJob, **settings) -> FinetuneJob:
    """The job with other finetuning settings."""
    return replace(job, settings=job.settings.model_copy(update=settings))
