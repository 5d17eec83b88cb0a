"""A model folder that is not what it should be is refused in words that name it and say what to do."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from reft.config import LoraSettings
from reft.errors import ModelError
from reft.models.adapters import wrap_lora
from reft.models.loading import load_model

NAME = "model.layers.1.mlp.up_proj.weight"


def only_pickles(folder: Path) -> None:
    torch.save(load_file(folder / "model.safetensors"), folder / "pytorch_model.bin")
    (folder / "model.safetensors").unlink()


def own_code(folder: Path) -> None:
    config = json.loads((folder / "config.json").read_text())
    config |= {"model_type": "strange", "auto_map": {"AutoConfig": "own.C", "AutoModelForCausalLM": "own.M"}}
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "own.py").write_text(f"open({str(folder / 'ran')!r}, 'w')")


def cut_off(folder: Path) -> None:
    content = (folder / "model.safetensors").read_bytes()
    (folder / "model.safetensors").write_bytes(content[: len(content) // 2])


def empty(folder: Path) -> None:
    (folder / "model.safetensors").write_bytes(b"")


def with_weight(change):
    def spoil(folder: Path) -> None:
        weights = load_file(folder / "model.safetensors")
        found = change(weights.pop(NAME))
        save_file(
            weights | ({NAME: found} if found is not None else {}), folder / "model.safetensors", {"format": "pt"}
        )

    return spoil


def with_value(value: float):
    return with_weight(lambda weight: weight.index_fill(0, torch.tensor([0]), value))


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (only_pickles, "only pickled weights, which are never loaded"),
        (own_code, "brings Python code of its own.*model.trust_remote_code"),
        (cut_off, "cut off or damaged"),
        (empty, "cut off or damaged"),
        (with_value(float("nan")), f"weight {NAME} holds NaN or infinity"),
        (with_value(float("inf")), f"weight {NAME} holds NaN or infinity"),
        (with_weight(lambda _: None), rf"1 weights are missing \({NAME}\)"),
        (with_weight(lambda _: torch.zeros(3, 3)), "other shapes than config.json says"),
    ],
)
def test_a_broken_folder_is_refused_by_name(tmp_path, tiny_model, spoil, words):
    folder = tmp_path / "model"
    shutil.copytree(tiny_model, folder)
    load_model(str(folder))
    spoil(folder)
    with pytest.raises(ModelError, match=f"(?s){words}") as refused:
        load_model(str(folder))
    assert str(folder) in str(refused.value)
    assert "remedy: " in str(refused.value)
    assert not (folder / "ran").exists()


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_large_numbers_are_numbers(tmp_path, tiny_model, dtype):
    """Their sum is beyond what half precision holds."""
    folder = tmp_path / "model"
    shutil.copytree(tiny_model, folder)
    with_value(30_000.0)(folder)
    assert load_model(str(folder), dtype).dtype is dtype


@pytest.fixture
def adapter(tmp_path, tiny_model):
    wrap_lora(load_model(tiny_model), LoraSettings()).save_pretrained(tmp_path / "adapter")
    return tmp_path / "adapter"


def test_an_adapter_in_place_of_a_model_names_its_base_and_that_it_is_gone(tmp_path, adapter):
    described = json.loads((adapter / "adapter_config.json").read_text())
    gone = str(tmp_path / "gone")
    (adapter / "adapter_config.json").write_text(json.dumps(described | {"base_model_name_or_path": gone}))
    with pytest.raises(ModelError, match=f"(?s)a PEFT adapter, not a model.*{gone}.*not there any more"):
        load_model(str(adapter))


def test_a_broken_adapter_is_refused_by_name(tiny_model, adapter):
    load_model(tiny_model, adapter=adapter)
    weights = load_file(file := adapter / "adapter_model.safetensors")
    first = next(iter(weights))
    save_file(weights | {first: torch.full_like(weights[first], float("nan"))}, file, {"format": "pt"})
    with pytest.raises(ModelError, match=r"(?s)holds NaN or infinity.*adapter"):
        load_model(tiny_model, adapter=adapter)
    save_file({**weights, first: torch.zeros(1, 1)}, file, {"format": "pt"})
    with pytest.raises(ModelError, match=f"(?s)does not fit this model.*{tiny_model}"):
        load_model(tiny_model, adapter=adapter)
    file.write_bytes(file.read_bytes()[:50])
    with pytest.raises(ModelError, match=r"(?s)cut off or damaged.*adapter"):
        load_model(tiny_model, adapter=adapter)
    (adapter / "adapter_config.json").unlink()
    with pytest.raises(ModelError, match=r"no adapter_config\.json"):
        load_model(tiny_model, adapter=adapter)
