"""A teacher's folder that was changed since its run is noticed, and the command line says which file."""

import json
import shutil

import pytest
from safetensors.torch import load_file, save_file
from typer.testing import CliRunner

from reft.cli import app
from reft.errors import StorageError
from reft.filtering.inputs import read_inputs
from reft.refusal_feature.feature import RefusalFeature
from reft.storage.digests import SEAL, seal
from tests.factories import build_scorer, row, write_jsonl

FILES = (
    "feature/refusal_feature.json", "feature/refusal_feature.safetensors", "untrained/refusal_feature.json",
    "harmless.jsonl", "harmful.jsonl", "scorer.json", "teacher.json",
)  # fmt: skip


@pytest.fixture(scope="module")
def written(tiny_model, tmp_path_factory):
    return build_scorer(tmp_path_factory.mktemp("scorer"), tiny_model)


@pytest.fixture
def folder(written, tmp_path):
    return shutil.copytree(written, tmp_path / "teacher")


@pytest.mark.parametrize("name", FILES)
def test_an_edited_file_is_refused_by_name(folder, name):
    read_inputs(folder)
    content = bytearray((folder / name).read_bytes())
    content[-3] ^= 1
    (folder / name).write_bytes(content)
    with pytest.raises(StorageError, match=f"(?s)changed: {name}.*{folder}.*remedy"):
        read_inputs(folder)
    (folder / name).unlink()
    with pytest.raises(StorageError, match=f"gone: {name}|no teacher to score with"):
        read_inputs(folder)


def test_a_new_file_and_an_emptied_seal_are_noticed(folder):
    (folder / ".hidden").touch()
    read_inputs(folder)
    (folder / "weights" / "more.json").touch()
    with pytest.raises(StorageError, match=r"new: weights/more\.json"):
        read_inputs(folder)
    (folder / SEAL).write_text("{}")
    with pytest.raises(StorageError, match="new: feature/"):
        read_inputs(folder)


def test_weights_are_under_the_seal_too(folder):
    (folder / "weights" / "adapter_model.safetensors").write_bytes(b"as trained")
    seal(folder)
    read_inputs(folder)
    (folder / "weights" / "adapter_model.safetensors").write_bytes(b"of another")
    with pytest.raises(StorageError, match=r"changed: weights/adapter_model\.safetensors"):
        read_inputs(folder)


def test_a_feature_alone_is_under_a_seal_of_its_own(folder):
    described = json.loads((folder / "feature" / "refusal_feature.json").read_text())
    (folder / "feature" / "refusal_feature.json").write_text(json.dumps(described | {"layer": 1}))
    with pytest.raises(StorageError, match=r"changed: refusal_feature\.json"):
        RefusalFeature.load(folder / "feature")


def unsealed(folder):
    for file in folder.rglob(SEAL):
        file.unlink()


def test_a_folder_from_before_there_were_seals_is_taken_with_a_warning(folder, caplog):
    unsealed(folder)
    assert read_inputs(folder).teacher is not None
    assert "cannot be told" in caplog.text


def test_what_a_seal_does_not_tell_is_told_when_it_is_read(folder):
    unsealed(folder)
    file = folder / "feature" / "refusal_feature.safetensors"
    whole, tensors = file.read_bytes(), load_file(file)
    file.write_bytes(whole[:-7])
    with pytest.raises(StorageError, match=r"(?s)cut off or damaged.*refusal_feature\.safetensors"):
        read_inputs(folder)
    save_file(tensors | {"direction": tensors["direction"] / 0}, file)
    with pytest.raises(StorageError, match="tensor direction holds NaN or infinity"):
        read_inputs(folder)
    file.write_bytes(whole)
    (folder / "feature" / "refusal_feature.json").write_text("{}")
    with pytest.raises(StorageError, match=r"(?s)no 'separations' in it.*refusal_feature\.json"):
        read_inputs(folder)


def test_the_command_line_says_so_and_scans_again_once_it_is_mended(folder, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    data = write_jsonl(tmp_path / "rows.jsonl", [row("How do I bake bread?", "So.")] * 20)
    command = ["scan", str(data), "--teacher", str(folder), "--out", str(tmp_path / "out"), "--fpr", "0.05"]
    whole = (folder / "feature" / "refusal_feature.json").read_text()
    (folder / "feature" / "refusal_feature.json").write_text(whole.replace("layer", "laver", 1))
    said = CliRunner().invoke(app, command)
    assert isinstance(said.exception, StorageError)
    assert "changed: feature/refusal_feature.json" in str(said.exception)
    assert not (tmp_path / "out").exists()
    (folder / "feature" / "refusal_feature.json").write_text(whole)
    assert CliRunner().invoke(app, command).exit_code in (0, 3)
