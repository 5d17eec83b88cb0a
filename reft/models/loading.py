"""Loading a causal language model and its tokenizer from a local folder or the hub."""

from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer, PreTrainedModel, PreTrainedTokenizerBase
from transformers.utils import logging

from reft.conversations.templates import set_chat_template
from reft.errors import ConfigurationError, ModelError, explain
from reft.models.hardware import choose_hardware


def load_tokenizer(name: str, chat_template: str = "auto", trust_remote_code: bool = False) -> PreTrainedTokenizerBase:
    """The tokenizer with a chat template set and a padding token.

    Raises:
        ModelError: the folder or hub id has no usable tokenizer.
    """
    folder = Path(name).expanduser()
    _require_folder_or_hub_id(name)
    try:
        tokenizer: Any = AutoTokenizer.from_pretrained(
            folder if folder.is_dir() else name, trust_remote_code=trust_remote_code
        )
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ModelError(
            explain(
                f"no tokenizer could be loaded ({_first_line(error)})",
                name,
                "put tokenizer.json and tokenizer_config.json beside the weights (tokenizer.save_pretrained(folder))",
            )
        ) from error
    if not tokenizer.is_fast:
        raise ModelError(
            explain("the tokenizer is not a fast one", name, "convert it: it must load from a tokenizer.json")
        )
    set_chat_template(tokenizer, chat_template)
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token
    return tokenizer


def load_model(
    name: str,
    dtype: torch.dtype = torch.float32,
    *,
    device: torch.device | None = None,
    adapter: str | Path | None = None,
    trust_remote_code: bool = False,
    layers: int | None = None,
    quantized: bool = False,
) -> PreTrainedModel:
    """The model in evaluation mode, optionally with a PEFT adapter (merged where no precision is lost).

    Args:
        name: local folder or hub id; weights must be safetensors.
        dtype: number format of the weights.
        device: where to put it; None chooses by hardware.
        adapter: folder of a PEFT adapter for this model.
        layers: load only so many of the lowest layers, for reading features; what such a model says means nothing.
        quantized: the weights in 4 bits (NF4), computed with in `dtype`: for a frozen base under an adapter.

    Raises:
        ConfigurationError: quantized, and bitsandbytes is not installed.
        ModelError: the model or adapter cannot be loaded, or its weights are not safetensors.
    """
    folder = Path(name).expanduser()
    _require_folder_or_hub_id(name)
    source, device = folder if folder.is_dir() else name, device or choose_hardware().device
    with _explained(name):
        config = AutoConfig.from_pretrained(source, trust_remote_code=trust_remote_code)
        if layers is not None:
            _keep_lowest(config.get_text_config(), layers)
        with _no_word_of_missing_layers(layers is not None):
            model = AutoModelForCausalLM.from_pretrained(
                source,
                config=config,
                dtype=dtype if adapter is None else "auto",  # as stored, so that a merge rounds once
                use_safetensors=True,
                trust_remote_code=trust_remote_code,
                **(_four_bits(dtype, device) if quantized else {}),
            )
    if adapter is not None:
        model = _with_adapter(model, Path(adapter), layers is not None)
    return model.eval() if quantized else model.to(device, dtype).eval()


@contextmanager
def _explained(name: str) -> Generator[None]:
    """What goes wrong with loading, as an error of ours."""
    try:
        yield
    except ImportError as error:
        what, remedy = f"4 bits need bitsandbytes ({_first_line(error)})", "pip install bitsandbytes, or turn it off"
        raise ConfigurationError(explain(what, "finetuning.quantized_base", remedy)) from error
    except (OSError, ValueError, KeyError) as error:
        remedy = (
            "name a folder with config.json and model.safetensors, or a hub id that is cached or reachable; "
            "pickled weights (.bin, .pt) are refused"
        )
        raise ModelError(explain(f"the model could not be loaded ({_first_line(error)})", name, remedy)) from error


def load_trained(
    base: str,
    weights: Path,
    is_adapter: bool,
    *,
    dtype: torch.dtype,
    trust_remote_code: bool = False,
    layers: int | None = None,
) -> PreTrainedModel:
    """What a training left: an adapter on its base, or a full model; arguments and errors of `load_model`."""
    name, adapter = (base, weights) if is_adapter else (str(weights), None)
    return load_model(name, dtype, adapter=adapter, trust_remote_code=trust_remote_code, layers=layers)


def _four_bits(dtype: torch.dtype, device: torch.device) -> dict[str, Any]:
    from transformers import BitsAndBytesConfig

    config = BitsAndBytesConfig(
        load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_use_double_quant=True, bnb_4bit_compute_dtype=dtype
    )
    return {"quantization_config": config, "device_map": {"": device}}


def _keep_lowest(config: Any, layers: int) -> None:
    """Cut a model's configuration down to its lowest layers."""
    config.num_hidden_layers = layers
    if isinstance(kinds := getattr(config, "layer_types", None), list):  # models that mix kinds of attention
        config.layer_types = kinds[:layers]


@contextmanager
def _no_word_of_missing_layers(wanted: bool) -> Generator[None]:
    """The weights above are left out on purpose: no table of them."""
    before = logging.get_verbosity()
    if wanted:
        logging.set_verbosity_error()
    try:
        yield
    finally:
        logging.set_verbosity(before)


def _with_adapter(model: PreTrainedModel, adapter: Path, cut: bool) -> Any:
    from peft import PeftModel  # slow to import, and most callers need no adapter
    from peft.utils.error import NoMatchingPeftModuleError

    if not (adapter / "adapter_model.safetensors").is_file():
        raise ModelError(
            explain("no adapter_model.safetensors", str(adapter), "name a folder written by save_pretrained")
        )
    try:
        adapted = PeftModel.from_pretrained(model, str(adapter))
    except NoMatchingPeftModuleError:
        if cut:
            return model  # all that the adapter changes is in the layers above
        raise
    # Added to weights that are stored in half precision, most of the small update would be rounded away.
    return adapted.merge_and_unload() if model.dtype == torch.float32 else adapted


def _require_folder_or_hub_id(name: str) -> None:
    """A path that does not exist must not be mistaken for a hub id and looked up on the network."""
    looks_like_path = name.startswith((".", "/", "~")) or name.count("/") > 1
    if looks_like_path and not Path(name).expanduser().is_dir():
        raise ModelError(explain("no such model folder", name, "correct model.name in the configuration"))


def _first_line(error: BaseException) -> str:
    return next(iter(str(error).strip().splitlines()), type(error).__name__)
