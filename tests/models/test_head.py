"""What the vocabulary projection is given while a model answers prompts."""

import torch

from reft.evaluation.generation import generate_answers
from reft.models.layers import output_head
from reft.models.loading import load_model, load_tokenizer


def test_the_head_is_never_given_a_view(any_model):
    """Of a view PyTorch would copy frozen weights once for every prompt: `findings/torch_frozen_linear_view.sh`."""
    model, given = load_model(any_model).requires_grad_(False), []
    output_head(model).register_forward_pre_hook(lambda _, inputs: given.append(inputs[0]))
    prompts = ["Where is my card?", "Name three rivers.", "How do I bake bread at home?"]
    generate_answers(model, load_tokenizer(any_model), prompts, max_new_tokens=3)
    assert any(states.shape[:2] == (3, 1) for states in given)
    assert all(states.is_contiguous() for states in given)


def test_a_copy_changes_no_logits(tiny_model):
    head = output_head(model := load_model(tiny_model))
    states = torch.randn(4, 6, model.config.hidden_size)
    with torch.inference_mode():
        assert torch.allclose(head(states[:, -1:]), head(states)[:, -1:], atol=1e-5)
