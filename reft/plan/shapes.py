"""The shapes of models by their size, so that a plan needs no weights."""

from pathlib import Path
from typing import Any

from transformers import AutoConfig, LlamaConfig

from reft.errors import ConfigurationError, explain

# Published: hidden, layers, heads, key-value heads, intermediate, vocabulary, whether head and embedding are one.
SIZES = {
    "135m": (576, 30, 9, 3, 1536, 49152, True),
    "1b": (2048, 16, 32, 8, 8192, 128256, True),
    "3b": (3072, 28, 24, 8, 8192, 128256, True),
    "8b": (4096, 32, 32, 8, 14336, 128256, False),
    "70b": (8192, 80, 64, 8, 28672, 128256, False),
}


def model_config(size: str) -> Any:
    """The configuration of a model of a known size, or of a model's folder.

    Raises:
        ConfigurationError: neither a known size nor a folder with config.json.
    """
    if size.lower() in SIZES:
        hidden, layers, heads, kv_heads, intermediate, vocabulary, tied = SIZES[size.lower()]
        return LlamaConfig(
            hidden_size=hidden, num_hidden_layers=layers, num_attention_heads=heads, num_key_value_heads=kv_heads,
            intermediate_size=intermediate, vocab_size=vocabulary, tie_word_embeddings=tied,
        )  # fmt: skip
    if (Path(size) / "config.json").is_file():
        return AutoConfig.from_pretrained(size)
    remedy = f"one of {', '.join(SIZES)}, or a folder with config.json"
    raise ConfigurationError(explain("no model of this size is known", size, remedy))
