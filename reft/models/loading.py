"""Loading a causal language model and its tokenizer from a local folder or the hub."""

from __future__ import annotations

from collections.abc import Generator, Iterable
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import torch
import transformers  # what is asked of it is loaded then: most of what takes seconds never is
from safetensors import SafetensorError
from torch import nn

from reft.errors import ConfigurationError, ModelError, explain
from reft.models.folders import base_of, faults_of_folder
from reft.models.hardware import choose_hardware
from reft.models.head import copy_views
from reft.models.logits import require_known_logits
from reft.models.tokenizers import first_line, require_folder_or_hub_id
from reft.models.tokenizers import load_tokenizer as load_tokenizer
from reft.storage.tensors import not_finite

AGAIN = "fetch or save the model again: it was cut off, damaged, or broken by its training"


def load_model(
    name: str,
    dtype: torch.dtype = torch.float32,
    *,
    device: torch.device | None = None,
    adapter: str | Path | None = None,
    trust_remote_code: bool = False,
    layers: int | None = None,
    quantized: bool = False,
) -> transformers.PreTrainedModel:
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
        ModelError: the model or adapter cannot be loaded, its weights are not safetensors, cut off, not all there, or
            hold NaN or an infinity; or its logits are made in a way that is not known.
    """
    folder = Path(name).expanduser()
    require_folder_or_hub_id(name)
    for what, remedy in faults_of_folder(folder) if folder.is_dir() else ():
        raise ModelError(explain(what, name, remedy))
    source, device = folder if folder.is_dir() else name, device or choose_hardware().device
    options = {"trust_remote_code": trust_remote_code, **(_four_bits(dtype, device) if quantized else {})}
    with _explained(name):
        # With an adapter as stored, so that a merge rounds once.
        model, missing = _read(source, dtype if adapter is None else "auto", layers=layers, options=options)
    _require_whole(model, missing, name)
    if adapter is not None:
        model = _with_adapter(model, Path(adapter), layers is not None)
    copy_views(model)
    model = model.eval() if quantized else model.to(device, dtype).eval()
    if layers is None and not quantized:  # 4-bit inference packs the weights anew, which training cannot use
        require_known_logits(model, name)
    return model


def _read(
    source: str | Path, dtype: torch.dtype | Literal["auto"], *, layers: int | None, options: dict[str, Any]
) -> tuple[transformers.PreTrainedModel, Iterable[str]]:
    """The model as its files have it, and the names of weights that they lack."""
    config = transformers.AutoConfig.from_pretrained(source, trust_remote_code=options["trust_remote_code"])
    if layers is not None:
        _keep_lowest(config.get_text_config(), layers)
    with _no_word_of_missing_layers(layers is not None):
        loaded: Any = transformers.AutoModelForCausalLM.from_pretrained(
            source, config=config, dtype=dtype, use_safetensors=True, output_loading_info=True, **options
        )
    model, found = loaded
    return model, found["missing_keys"]


@contextmanager
def _explained(name: str) -> Generator[None]:
    """What goes wrong with loading, as an error of ours."""
    try:
        yield
    except ImportError as error:
        what, remedy = f"4 bits need bitsandbytes ({first_line(error)})", "pip install bitsandbytes, or turn it off"
        raise ConfigurationError(explain(what, "finetuning.quantized_base", remedy)) from error
    except torch.OutOfMemoryError:
        raise
    except SafetensorError as error:
        raise ModelError(explain(f"weights that are cut off or damaged ({error})", name, AGAIN)) from error
    except (OSError, ValueError, KeyError, RuntimeError) as error:
        remedy = (
            "name a folder with config.json and model.safetensors, or a hub id that is cached or reachable; "
            "pickled weights (.bin, .pt) are refused"
        )
        what = f"the model could not be loaded ({first_line(error)})"
        if "trust_remote_code" in str(error):
            what = "the model brings Python code of its own (auto_map in config.json), which is not run"
            remedy = "name a model that needs none; or read that code, and set model.trust_remote_code: true to run it"
        elif "ignore_mismatched_sizes" in str(error):
            what, remedy = "weights of other shapes than config.json says", AGAIN
        raise ModelError(explain(what, name, remedy)) from error


def _require_whole(model: transformers.PreTrainedModel, missing: Iterable[str], name: str) -> None:
    """Weights that are not there would be filled with chance, and ones that are no numbers spoil all others.

    The look at every number takes a tenth of a second for a model of 135 million weights.
    """
    if missing := sorted(missing):
        what = f"{len(missing)} weights are missing ({', '.join(missing[:3])})"
        raise ModelError(explain(what, name, AGAIN))
    _require_finite(model, name)


def _require_finite(model: nn.Module, name: str) -> None:
    if found := not_finite(model.named_parameters()):
        raise ModelError(explain(f"weight {found} holds NaN or infinity", name, AGAIN))


def load_trained(
    base: str,
    weights: Path,
    is_adapter: bool,
    *,
    dtype: torch.dtype,
    trust_remote_code: bool = False,
    layers: int | None = None,
) -> transformers.PreTrainedModel:
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
    before = transformers.logging.get_verbosity()
    if wanted:
        transformers.logging.set_verbosity_error()
    try:
        yield
    finally:
        transformers.logging.set_verbosity(before)


def add_adapter(model: Any, adapter: Path, name: str) -> Any:
    """PEFT's wrapper around a model, or the one that it has already, with one more adapter under this name.

    Nothing is merged: adapters of one base stay side by side, and which of them speaks is PEFT's `set_adapter`.

    Raises:
        ModelError: the adapter is not there, is damaged, does not fit, or holds NaN or an infinity.
    """
    from peft import PeftModel

    _require_adapter(adapter)
    with _explained_adapter(adapter):
        if isinstance(model, PeftModel):
            model.load_adapter(str(adapter), adapter_name=name)
        else:
            model = PeftModel.from_pretrained(model, str(adapter), adapter_name=name)
    if found := not_finite((key, value) for key, value in model.named_parameters() if f".{name}." in key):
        model.delete_adapter(name)
        raise ModelError(explain(f"weight {found} holds NaN or infinity", str(adapter), AGAIN))
    return model.eval()


def _with_adapter(model: transformers.PreTrainedModel, adapter: Path, cut: bool) -> Any:
    from peft import PeftModel  # slow to import, and most callers need no adapter
    from peft.utils.error import NoMatchingPeftModuleError

    _require_adapter(adapter)
    with _explained_adapter(adapter):
        try:
            adapted = PeftModel.from_pretrained(model, str(adapter))
        except NoMatchingPeftModuleError:
            if cut:
                return model  # all that the adapter changes is in the layers above
            raise
    _require_finite(adapted, str(adapter))
    # Added to weights that are stored in half precision, most of the small update would be rounded away.
    return adapted.merge_and_unload() if model.dtype == torch.float32 else adapted


def _require_adapter(adapter: Path) -> None:
    for file in ("adapter_model.safetensors", "adapter_config.json"):
        if not (adapter / file).is_file():
            raise ModelError(explain(f"no {file}", str(adapter), "name a folder written by save_pretrained"))


@contextmanager
def _explained_adapter(adapter: Path) -> Generator[None]:
    """What goes wrong with an adapter, as an error of ours."""
    try:
        yield
    except torch.OutOfMemoryError:
        raise
    except (SafetensorError, OSError) as error:
        what = f"adapter_model.safetensors is cut off or damaged ({first_line(error)})"
        raise ModelError(explain(what, str(adapter), AGAIN)) from error
    except (ValueError, KeyError, TypeError, RuntimeError) as error:
        base = base_of(adapter / "adapter_config.json")
        remedy = f"load it on the base model that it was trained on ({base})" if base else AGAIN
        raise ModelError(explain("the adapter does not fit this model", str(adapter), remedy)) from error
