"""What a local folder lacks to be a model: told before anything is loaded, so that it is told in our words."""

import json
from collections.abc import Iterator
from pathlib import Path

PICKLES = (".bin", ".pt", ".pth", ".ckpt", ".pkl", ".pickle")


def faults_of_folder(folder: Path) -> Iterator[tuple[str, str]]:
    """What is wrong with the folder, and what to do about it, most telling first; nothing for one that may load."""
    if not (folder / "config.json").is_file():
        if (adapter := folder / "adapter_config.json").is_file():
            yield f"a PEFT adapter, not a model: {folder}", _base_remedy(adapter)
            return
        yield f"no config.json in {folder}", "name a folder written by save_pretrained"
    there = {path.suffix for path in folder.iterdir()}
    if ".safetensors" not in there:
        what = "only pickled weights, which are never loaded:" if there.intersection(PICKLES) else "no weights:"
        yield f"{what} {folder}", "save the model as safetensors (model.save_pretrained(folder))"


def _base_remedy(adapter: Path) -> str:
    base = base_of(adapter)
    named = f"its base model ({base})" if base else "its base model"
    is_gone = bool(base) and Path(str(base)).is_absolute() and not Path(str(base)).is_dir()
    gone = ", which is not there any more: fetch it again" if is_gone else ""
    return f"name {named}{gone}, or the merged model that a run with finetuning.merged: true leaves"


def base_of(adapter: Path) -> str | None:
    """The base model that an `adapter_config.json` names, where it names one."""
    try:
        return json.loads(adapter.read_text(encoding="utf-8")).get("base_model_name_or_path")
    except (OSError, ValueError, AttributeError):
        return None
