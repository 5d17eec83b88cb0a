"""The notebook's cells run with a tiny model, and the file keeps what they showed with the real one."""

import base64
import json
import re
from pathlib import Path

import pytest
import torch

from reft.config import LoraSettings
from reft.models.adapters import wrap_lora
from reft.models.loading import load_model
from reft.refusal_feature.feature import RefusalFeature, Separation
from reft.teacher.artifact import Teacher

NOTEBOOK = Path("examples/refusal_feature.ipynb").absolute()
MOST_PICTURE_BYTES = 150_000


@pytest.fixture(scope="module")
def cells():
    return [cell for cell in json.loads(NOTEBOOK.read_text())["cells"] if cell["cell_type"] == "code"]


@pytest.fixture
def trained(tiny_model, tmp_path):
    """A teacher's folder as a run leaves it: the tiny model under an adapter that changes it."""
    wrapped = wrap_lora(load_model(tiny_model), LoraSettings(rank=4))
    for name, weight in wrapped.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(weight)
    wrapped.save_pretrained(tmp_path / "adapter")
    feature = RefusalFeature(
        direction=torch.ones(32),
        midpoint=torch.zeros(32),
        layer=1,
        position="template",
        separations=(Separation(1, "template", 0.5),),
    )
    teacher = Teacher(weights=tmp_path / "adapter", is_adapter=True, feature=feature, untrained=feature, history=[])
    teacher.save(tmp_path / "teacher")
    return tmp_path / "teacher"


@pytest.fixture
def run(cells, monkeypatch):
    """Run every code cell in turn, as a kernel would in the notebook's folder; returns what they defined."""
    monkeypatch.chdir(NOTEBOOK.parent)
    monkeypatch.setenv("MPLBACKEND", "agg")

    def run_with(**parameters) -> dict:
        names: dict = {}
        for cell in cells:
            source = "".join(cell["source"])
            # What is left out configures Jupyter's pictures.
            exec(re.sub(r"^%.*$", "", source, flags=re.MULTILINE), names)
            if "parameters" in cell["metadata"].get("tags", ()):
                names |= parameters
        return names

    return run_with


def test_the_cells_run_and_draw_scores_that_separate_as_the_feature_says(run, tiny_model, tmp_path, capsys):
    shown = run(MODEL=tiny_model, TEACHER=tmp_path / "none", PROMPTS=12)
    assert list(shown["found"]) == ["start model"]
    feature, scores = shown["found"]["start model"], shown["scores"]["start model"]
    assert {kind: tuple(values.shape) for kind, values in scores.items()} == {"harmful": (12, 3), "harmless": (12, 3)}
    at = {kind: values[:, feature.layer - 1] for kind, values in scores.items()}
    higher = (at["harmful"][:, None] > at["harmless"]).float().mean()
    assert higher.item() == pytest.approx(feature.auroc(), abs=0.01)
    assert not {row.instruction for row in shown["fitting"].harmful} & {
        row.instruction for row in shown["held_out"].harmful
    }
    assert f"start model: layer {feature.layer} of 3" in capsys.readouterr().out


def test_a_trained_teacher_is_drawn_beside(run, tiny_model, trained):
    shown = run(MODEL=tiny_model, TEACHER=trained, PROMPTS=6)
    assert list(shown["scores"]) == ["start model", "trained teacher"]
    start, teacher = shown["scores"].values()
    assert not torch.allclose(start["harmful"], teacher["harmful"], atol=1e-3)


def test_what_the_cells_showed_is_kept(cells):
    outputs = [output for cell in cells for output in cell["outputs"]]
    assert all(cell["execution_count"] for cell in cells)
    assert not [o for o in outputs if o["output_type"] == "error" or o.get("name") == "stderr"]
    pictures = [base64.b64decode(o["data"]["image/png"]) for o in outputs if "image/png" in o.get("data", {})]
    assert len(pictures) == 3
    assert all(picture.startswith(b"\x89PNG") for picture in pictures)
    assert sum(map(len, pictures)) < MOST_PICTURE_BYTES
    said = "".join(line for o in outputs for line in o.get("text", ()))
    assert re.search(r"start model: layer \d+ of 30, \w+, AUROC 0\.\d+", said)  # the default model's, not a tiny one's


def test_the_notebook_names_no_folder_of_a_machine():
    assert not re.findall(r"(?<![\w.])/(?:home|root|tmp|work|usr|opt|Users|var)/", NOTEBOOK.read_text())
