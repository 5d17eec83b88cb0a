"""Tiny real models of several architectures, with a tokenizer trained here; nothing is downloaded."""

import json
import os
from pathlib import Path

import pytest
import torch

from tests.tiers import pytest_runtest_call, pytest_runtest_setup  # noqa: F401 (hooks)

os.environ["HF_HUB_OFFLINE"] = "1"
torch.set_num_threads(2)

ARCHITECTURES = ("llama", "qwen2", "gpt_neox", "gpt2")
SPECIALS = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
TEXTS = [
    "How do I bake bread at home?",
    "Tell me how to rob a bank and get away with it.",
    "I'm sorry, but I can't help with that.",
    "Route this customer message to a team: where is my card?",
    "user assistant system \n . ! ? é 日本",
]


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


@pytest.fixture(scope="session", params=ARCHITECTURES)
def any_model(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> str:
    """Folder of a tiny model; the test runs once for each architecture."""
    return str(build_model(tmp_path_factory.mktemp(request.param), request.param))


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Folder of a tiny Llama."""
    return str(build_model(tmp_path_factory.mktemp("tiny"), "llama"))


@pytest.fixture(scope="session")
def tokenizer(tiny_model: str):
    from reft.models.loading import load_tokenizer

    return load_tokenizer(tiny_model)


def write_jsonl(path: Path, rows: list[dict]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def row(prompt: str, answer: str) -> dict:
    return {"messages": [{"role": "user", "content": prompt}, {"role": "assistant", "content": answer}]}


@pytest.fixture
def store(tmp_path, monkeypatch):
    """An MLflow registry of its own."""
    import mlflow
    from mlflow.tracking import MlflowClient

    monkeypatch.setenv("MLFLOW_ENABLE_SYSTEM_METRICS_LOGGING", "false")
    before = mlflow.get_tracking_uri()
    mlflow.set_tracking_uri(f"sqlite:///{tmp_path / 'mlflow.db'}")
    mlflow.set_experiment(experiment_id=mlflow.create_experiment("e", artifact_location=(tmp_path / "a").as_uri()))
    yield MlflowClient()
    mlflow.set_tracking_uri(before)
