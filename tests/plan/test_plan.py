"""The plan of memory: against a real step, against AdamW's real tensors, and against DeepSpeed's own estimators."""

import json

import pytest
import torch
from deepspeed.runtime.zero.stage3 import estimate_zero3_model_states_mem_needs
from deepspeed.runtime.zero.stage_1_and_2 import estimate_zero2_model_states_mem_needs
from transformers import AutoModelForCausalLM, LlamaConfig
from typer.testing import CliRunner

from reft.cli import app
from reft.config import LoraSettings, parse_settings
from reft.errors import ConfigurationError
from reft.models.adapters import wrap_lora
from reft.plan.memory import GIB, plan_memory, states, zero_stages_that_fit
from reft.plan.shapes import SIZES, model_config
from reft.plan.trace import saved_bytes, trace

SMALL = LlamaConfig(
    hidden_size=64, num_hidden_layers=4, num_attention_heads=4, num_key_value_heads=2, intermediate_size=128,
    vocab_size=500,
)  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("checkpointing", [False, True])
@pytest.mark.parametrize("lora", [None, LoraSettings()])
def test_a_traced_step_keeps_what_a_real_one_keeps(dtype, checkpointing, lora):
    traced = trace(SMALL, lora, 3, tokens=40, learnt=7, dtype=dtype, checkpointing=checkpointing)
    model = AutoModelForCausalLM.from_config(SMALL, dtype=dtype, attn_implementation="sdpa").train()
    model = wrap_lora(model, lora).to(dtype) if lora else model
    if checkpointing:
        model.gradient_checkpointing_enable({"use_reentrant": False})
    real = saved_bytes(model, torch.zeros(3, 40, dtype=torch.long), 7)
    assert real <= traced.saved <= 1.15 * real
    assert traced.frozen + traced.trainable == sum(p.numel() for p in model.parameters())


@pytest.mark.slow
def test_the_teachers_states_are_the_bytes_that_adamw_holds():
    model = AutoModelForCausalLM.from_config(SMALL, dtype=torch.bfloat16)
    model = wrap_lora(model, LoraSettings())
    trained = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(trained)
    model(torch.zeros(1, 4, dtype=torch.long)).logits.float().sum().backward()
    optimizer.step()
    moments = [s[name] for s in optimizer.state.values() for name in ("exp_avg", "exp_avg_sq")]
    held = [*model.parameters(), *(p.grad for p in trained), *moments]
    settings = parse_settings({"teacher": {"batch_size": 1}})
    (need,) = [n for n in plan_memory(SMALL, settings, 1, nodes=1, tokens=16, answer=4) if n.stage == "teacher"]
    assert need.states == sum(t.numel() * t.element_size() for t in held)


@pytest.mark.parametrize(("gpus", "nodes"), [(1, 1), (8, 1), (8, 2)])
def test_zero_2_and_3_are_what_deepspeed_says(gpus, nodes):
    weights, largest = 8_030_000_000, 525_000_000
    for offload in (False, True):
        host, gpu = estimate_zero2_model_states_mem_needs(weights, gpus, nodes, cpu_offload=offload)
        ours = states(0, weights, largest, stage=2, gpus=gpus, nodes=nodes, optimizer_offload=offload)
        assert ours[0] == pytest.approx(gpu)
        assert not offload or ours[1] == pytest.approx(host)
    for optimizer, parameters in ((False, False), (True, False), (True, True)):
        host, gpu, _ = estimate_zero3_model_states_mem_needs(weights, largest, gpus, nodes, optimizer, parameters)
        ours = states(
            0,
            weights,
            largest,
            stage=3,
            gpus=gpus,
            nodes=nodes,
            optimizer_offload=optimizer,
            parameter_offload=parameters,
        )
        assert ours[0] == pytest.approx(gpu)
        assert not optimizer or ours[1] == pytest.approx(host)


def test_more_zero_and_more_gpus_never_need_more_for_states():
    for stage in range(4):
        found = [states(8_000, 8_000, 100, stage=stage, gpus=gpus)[0] for gpus in (1, 2, 8)]
        assert found == sorted(found, reverse=True)
    for gpus in (2, 8):
        found = [states(8_000, 8_000, 100, stage=stage, gpus=gpus)[0] for stage in range(4)]
        assert found == sorted(found, reverse=True)


@pytest.mark.parametrize(("size", "billions"), [("135m", 0.1345), ("1b", 1.236), ("8b", 8.03), ("70b", 70.6)])
def test_the_known_sizes_have_as_many_weights_as_their_names_say(size, billions):
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(model_config(size))
    assert sum(p.numel() for p in model.parameters()) / 1e9 == pytest.approx(billions, rel=0.005)


def test_what_fits_and_how_to_need_less():
    settings = parse_settings({"finetuning": {"lora": None}})
    needs = plan_memory(SMALL, settings, 8, nodes=1, tokens=32, answer=8)
    assert [n.stage for n in needs if n.stage.startswith("finetune")] == [f"finetune, ZeRO {i}" for i in range(4)]
    least = min(n.gpu for n in needs if n.stage.startswith("finetune"))
    assert len(zero_stages_that_fit(needs, least)) >= 1
    assert zero_stages_that_fit(needs, least - 1) == []
    thrifty = parse_settings({"finetuning": {"gradient_checkpointing": True}})
    kept = [
        plan_memory(SMALL, s, 1, nodes=1, tokens=64, answer=8)[4].activations for s in (parse_settings({}), thrifty)
    ]
    assert kept[1] < kept[0] / 3


def test_the_command_prints_every_stage_or_json():
    options = ["plan", "--model-size", "135m", "--tokens", "64"]
    said = CliRunner().invoke(app, options)
    assert said.exit_code == 0, said.output
    assert "fits: finetune, ZeRO 0" in said.output
    needs = json.loads(CliRunner().invoke(app, [*options, "--json"]).output)
    assert [n["stage"] for n in needs][:4] == ["refusal_feature", "teacher", "soft_labels", "filtering"]
    assert all(0 < n["gpu"] < 40 * GIB for n in needs)
    with pytest.raises(ConfigurationError, match="no model of this size"):
        model_config("12 parsecs")
    assert "8b" in SIZES
