"""Which modules get an adapter, whatever the model's modules are called."""

import pytest
import torch
import transformers
from peft.tuners.lora import LoraLayer

from reft.config import LoraSettings
from reft.models.adapters import wrap_lora

SIZES = {"num_hidden_layers": 2, "num_attention_heads": 4, "hidden_size": 64, "vocab_size": 128}
FEED_FORWARD = {
    "llama": {"mlp.up_proj", "mlp.down_proj"},
    "phi3": {"mlp.gate_up_proj", "mlp.down_proj"},  # one matrix holds the gates as well
    "gpt2": {"mlp.c_fc", "mlp.c_proj"},  # its attention has a c_proj, too
    "gpt_neox": {"mlp.dense_h_to_4h", "mlp.dense_4h_to_h"},
    "opt": {"fc1", "fc2"},
    "starcoder2": {"mlp.c_fc", "mlp.c_proj"},
    "recurrent_gemma": {"mlp_block.up_proj", "mlp_block.down_proj"},  # its other block mixes tokens by a recurrence
}


def adapted(kind: str, where: str | list[str] = "feed-forward", sizes: dict[str, int] | None = None) -> set[str]:
    """The names within their layers of the modules that get LoRA matrices, of the second of two layers."""
    config = transformers.AutoConfig.for_model(kind, **SIZES, **(sizes or {}), pad_token_id=0)
    with torch.device("meta"):
        model = transformers.AutoModelForCausalLM.from_config(config)
        wrapped = wrap_lora(model, LoraSettings(rank=2, target_modules=where))
    names = [name for name, module in wrapped.named_modules() if isinstance(module, LoraLayer)]
    return {name.partition(".1.")[2] for name in names if ".1." in name}


@pytest.mark.parametrize("kind", FEED_FORWARD)
def test_an_adapter_lies_on_the_feed_forward_matrices_whatever_they_are_called(kind):
    assert adapted(kind) == FEED_FORWARD[kind]


@pytest.mark.parametrize("kind", ["mixtral", "qwen2_moe", "deepseek_v3"])
def test_a_model_of_experts_has_adapters_on_whatever_is_linear(kind):
    """Experts are one tensor in some models, of which PEFT refuses a part."""
    few = {"num_experts": 4, "n_routed_experts": 8, "num_local_experts": 4, "intermediate_size": 64}
    assert adapted(kind, sizes=few) == adapted(kind, "all-linear", sizes=few) != set()


def test_names_and_all_linear_are_taken_at_their_word():
    assert adapted("llama", ["q_proj"]) == {"self_attn.q_proj"}
    everything = {
        *(f"self_attn.{name}_proj" for name in "qkvo"),
        *(f"mlp.{name}_proj" for name in ("gate", "up", "down")),
    }
    assert adapted("llama", "all-linear") == everything
