"""Models that scale or cap their logits: what is learnt and measured is what they say."""

import json

import pytest
import torch

from reft.errors import ModelError
from reft.finetuning.schedule import MicroBatch
from reft.finetuning.student_loss import StudentLoss
from reft.models.head import hidden_states, log_likelihoods
from reft.models.loading import load_model
from tests.factories import build_model, make_job

# Caps so low that they change the logits of tiny models.
SAID = {
    "granite": {"logits_scaling": 8.0},
    "hyperclovax": {"logits_scaling": 8.0},
    "cohere": {"logit_scale": 0.0625},
    "gemma2": {"final_logit_softcapping": 0.05},
}


def build(folder, architecture):
    build_model(folder, architecture)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | SAID[architecture]))
    return str(folder)


@pytest.mark.parametrize("architecture", ["granite", "hyperclovax", "cohere", "gemma2"])
def test_losses_and_likelihoods_are_of_the_models_own_logits(tmp_path, architecture):
    job = make_job(build(tmp_path, architecture))
    model = load_model(job.model.name)
    row = job.user[0]
    ids, (start, end) = torch.tensor([row.input_ids]), row.completion
    own = torch.log_softmax(model(ids).logits[0].float(), -1)[start - 1 : end - 1]
    expected = own.gather(-1, ids[0, start:end, None])[:, 0]
    found = log_likelihoods(model, hidden_states(model, ids, None)[0, start - 1 : end - 1], ids[0, start:end])
    torch.testing.assert_close(found, expected.detach(), rtol=1e-4, atol=1e-5)
    step = MicroBatch((0,), (1, 2))
    learnt = StudentLoss(model, job, pad_id=0)(step, step)
    assert learnt["ce"].item() == pytest.approx(-expected.mean().item(), rel=1e-4)
    assert learnt["kl"].item() == pytest.approx(0, abs=1e-5)
    likely, which = job.soft_labels.of_row(1)
    ids, (start, end) = torch.tensor([job.alignment[1].input_ids]), job.alignment[1].completion
    own = torch.log_softmax(model(ids).logits[0].float(), -1)[start - 1 : end - 1]
    torch.testing.assert_close(likely, own.gather(-1, which.long()).detach(), rtol=1e-4, atol=1e-4)


def test_a_model_whose_logits_are_made_in_another_way_is_refused(tmp_path, monkeypatch):
    folder = build(tmp_path, "granite")
    monkeypatch.setattr("reft.models.logits.DIVIDED", ())
    with pytest.raises(ModelError, match="a granite model changes its logits"):
        load_model(folder)
    load_model(folder, layers=1)  # whose features alone are read
