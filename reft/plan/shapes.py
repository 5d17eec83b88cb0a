"""The shapes of models by their size, so that a plan needs no weights."""

from difflib import get_close_matches
from pathlib import Path
from typing import Any

from reft.errors import ConfigurationError, explain

# Published: hidden, layers, heads, key-value heads, intermediate, vocabulary, whether head and embedding are one.
SIZES = {
    "135m": (576, 30, 9, 3, 1536, 49152, True),
    "360m": (960, 32, 15, 5, 2560, 49152, True),
    "1b": (2048, 16, 32, 8, 8192, 128256, True),
    "1.7b": (2048, 24, 32, 32, 8192, 49152, True),
    "3b": (3072, 28, 24, 8, 8192, 128256, True),
    "8b": (4096, 32, 32, 8, 14336, 128256, False),
    "70b": (8192, 80, 64, 8, 28672, 128256, False),
}

NEEDED = ("hidden_size", "num_hidden_layers", "num_attention_heads", "num_key_value_heads", "intermediate_size",
          "vocab_size")  # fmt: skip


def require_size(size: str) -> None:
    """Check, without a heavy library, that a plan can be made.

    Raises:
        ConfigurationError: neither a known size nor a folder with config.json.
    """
    if size.lower() in SIZES or (Path(size) / "config.json").is_file():
        return
    near = "".join(f"did you mean {found}? " for found in get_close_matches(size.lower(), SIZES, n=1))
    remedy = f"{near}There are {', '.join(SIZES)}, or name a folder with config.json"
    raise ConfigurationError(explain("no model of this size is known", f"--model-size {size}", remedy))


def model_config(size: str) -> Any:
    """The configuration of a model of a known size, or of a model's folder.

    Raises:
        ConfigurationError: neither a known size nor a folder with a config.json that can be read.
    """
    require_size(size)
    from transformers import AutoConfig, LlamaConfig  # half a minute: a wrong size is told before

    if size.lower() not in SIZES:
        try:
            config = AutoConfig.from_pretrained(size, trust_remote_code=False)
            _require_shapes(config, size)
        except ConfigurationError:
            raise
        except Exception as error:  # every kind of model checks its shapes with errors of its own
            remedy = "name a folder that save_pretrained wrote, of a model that needs no code of its own"
            raise ConfigurationError(explain("its config.json describes no known model", size, remedy)) from error
        return config
    hidden, layers, heads, kv_heads, intermediate, vocabulary, tied = SIZES[size.lower()]
    return LlamaConfig(
        hidden_size=hidden, num_hidden_layers=layers, num_attention_heads=heads, num_key_value_heads=kv_heads,
        intermediate_size=intermediate, vocab_size=vocabulary, tie_word_embeddings=tied,
    )  # fmt: skip


def _require_shapes(config: Any, folder: str) -> None:
    """Check that it is a language model whose shapes the plan can be made of.

    Raises:
        ConfigurationError: another kind of model, or a shape is not there.
    """
    from transformers import AutoModelForCausalLM

    text = config.get_text_config()
    wrong = [name for name in NEEDED if not isinstance(size := getattr(text, name, None), int) or size < 1]
    if type(config) in AutoModelForCausalLM._model_mapping and not wrong:
        return
    why = f"its config.json has no {', '.join(wrong)}" if wrong else "it does not write text from left to right"
    what = f"no plan can be made of a model of type {config.model_type}: {why}"
    raise ConfigurationError(explain(what, folder, "name the folder of a decoder, as Llama, Qwen or Mistral"))
