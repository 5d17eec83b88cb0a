"""What a provider trains once for a method is trained once for all cells, and ends in their adapters as it says."""

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

import reft.comparison.teachers as module
from reft.comparison.grid import Grid
from reft.comparison.settings import ComparisonSettings
from reft.errors import TrainingError

METHOD = "buffer_and_reinforce"


@pytest.mark.slow
def test_cells_share_a_buffer_and_a_reinforcement(small, tmp_path, monkeypatch):
    finetuning = {
        **small.settings["finetuning"],
        "kept_epochs": 2,
        "epochs": 2,
        "batch_size": 8,
        "micro_batch_size": 8,
        "lora": {"rank": 4},
    }
    grid = ComparisonSettings(
        settings={**small.settings, "finetuning": finetuning}, methods=[METHOD], filtered=[False], seeds=[0],
        user_rows=10, keep_adapters=True,
    )  # fmt: skip
    trained = []

    def noted(name, job, **options):
        trained.append((name, job.beside and job.beside.name, len(job.user)))
        return fit(name, job, **options)

    fit = module.fit_student
    monkeypatch.setattr(module, "fit_student", noted)
    found = Grid(grid, tmp_path / "out")
    results = found.run()
    assert len(results) == 1, found.failures()
    assert trained == [("buffer", None, 12), ("reinforce", "buffer", 24)]
    assert set(results[0]["costs"]) == {"teacher", "provider_adapters", "finetuning", "evaluation"}
    assert results[0]["costs"]["provider_adapters"]["tokens"] > 0
    prepared = found.teachers.of(grid.run)
    assert results[0]["start"] == str(prepared.aligned)
    settings = grid.run.finetuning.for_method(METHOD, {"strength": 0.5})
    provided = prepared.provided(settings)  # wherever it works and however it merges: as the cell made it
    assert len(trained) == 2
    reinforce = load_file(provided.adapters["reinforce"] / "adapter_model.safetensors")
    folder = Path(results[0]["adapter"])
    assert json.loads((folder / "adapter_config.json").read_text())["r"] == 8
    weights = load_file(folder / "adapter_model.safetensors")
    names = [name for name in weights if "lora_A" in name]
    assert names
    for name in names:
        assert weights[name].shape[0] == 8
        assert torch.equal(weights[name][4:], reinforce[name])

    def refuse(*_, **__):
        raise TrainingError("trained anew")

    monkeypatch.setattr(module, "fit_student", refuse)
    assert prepared.provided(settings).adapters == provided.adapters
    with pytest.raises(
        TrainingError, match="trained anew"
    ):  # another training of the user's, another of the provider's
        prepared.provided(settings.model_copy(update={"learning_rate": 1e-2}))
