"""The plan of memory: against a real step, against AdamW's real tensors, and against DeepSpeed's own estimators."""

import json
import subprocess
import sys

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
from reft.models.masters import Masters
from reft.plan.memory import GIB, plan_memory, states, zero_stages_that_fit
from reft.plan.shapes import model_config, require_size
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
def test_the_teachers_states_are_the_bytes_that_its_step_holds():
    model = AutoModelForCausalLM.from_config(SMALL, dtype=torch.bfloat16)
    model = wrap_lora(model, LoraSettings())
    masters = Masters([p for p in model.parameters() if p.requires_grad], torch.bfloat16)
    optimizer = torch.optim.AdamW(masters.parameters)
    model(torch.zeros(1, 4, dtype=torch.long)).logits.float().sum().backward()
    masters.take_gradients()
    optimizer.step()
    moments = [s[name] for s in optimizer.state.values() for name in ("exp_avg", "exp_avg_sq")]
    trained = [*model.parameters(), *masters.parameters]
    held = [*trained, *(p.grad for p in trained if p.grad is not None), *moments]
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


@pytest.mark.parametrize(
    ("size", "billions"),
    [("135m", 0.1345), ("360m", 0.3618), ("1b", 1.236), ("1.7b", 1.711), ("8b", 8.03), ("70b", 70.6)],
)
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


def planned(tokens=32, config=SMALL, **sections):
    needs = plan_memory(config, parse_settings(sections), 1, nodes=1, tokens=tokens, answer=8)
    return {need.stage.removesuffix(" (loading)"): need for need in needs}


def test_a_base_in_four_bits_holds_less_and_has_no_stage_3():
    plain, quantized = planned(), planned(finetuning={"quantized_base": True})
    assert "finetune, ZeRO 3" in plain
    assert "finetune, ZeRO 3" not in quantized
    layer = 64 * (64 + 2 * 32 + 64 + 3 * 128)  # queries, keys and values, output, MLP
    spared = plain["finetune, ZeRO 0"].states - quantized["finetune, ZeRO 0"].states
    assert spared == pytest.approx(4 * layer * (2 - 0.516), rel=0.001)
    options = ["plan", "--model-size", "135m", "--tokens", "64", "--gpu-memory", "0.1"]
    assert "quantized_base" in CliRunner().invoke(app, options).output


@pytest.mark.parametrize(
    ("sections", "whole"),
    [
        ({"teacher": {"lora": None}}, True),
        ({"finetuning": {"lora": None}}, True),
        ({"model": {"name": "a/b", "aligned": "a/c"}}, True),
        ({}, False),
    ],
)
def test_a_teacher_in_memory_is_counted_unless_it_is_an_adapter_of_the_same_base(sections, whole):
    online = sections | {"finetuning": {**sections.get("finetuning", {}), "distillation": "online"}}
    stored, beside = planned(**sections), planned(**online)
    weights = sum(p.numel() for p in AutoModelForCausalLM.from_config(SMALL).parameters())
    for stage in range(4):
        more = beside[f"finetune, ZeRO {stage}"].states - stored[f"finetune, ZeRO {stage}"].states
        assert more >= 2 * weights if whole else more < weights
    assert "soft_labels" in stored
    assert "soft_labels" not in beside


def test_evaluation_holds_a_batch_of_so_many_tokens_whatever_the_length_of_a_row():
    short, long, longest = (planned(tokens=tokens)["evaluation"].gpu for tokens in (64, 2048, 10_000))
    assert short == long < longest


def test_the_command_prints_every_stage_or_json():
    options = ["plan", "--model-size", "135m", "--tokens", "64"]
    said = CliRunner().invoke(app, options)
    assert said.exit_code == 0, said.output
    assert "fits: finetune, ZeRO 0" in said.output
    assert all(f"{column}: " in said.output for column in ("states", "kept", "working", "all", "offloaded"))
    needs = json.loads(CliRunner().invoke(app, [*options, "--json"]).stdout)
    assert [n["stage"] for n in needs][:4] == ["refusal_feature", "teacher", "soft_labels", "filtering"]
    assert all(0 < n["gpu"] < 40 * GIB for n in needs)


def test_a_configurations_own_model_is_planned_for(tiny_model, tmp_path):
    profile = tmp_path / "mine.yaml"
    profile.write_text(json.dumps({"parameters": {"settings": {"model": {"name": tiny_model}}}}))
    options = ["plan", "--config", str(profile), "--tokens", "64"]
    said = CliRunner().invoke(app, options)
    assert said.exit_code == 0, said.output
    assert said.output.startswith(f"{tiny_model}, ")
    assert CliRunner().invoke(app, [*options, "--model-size", "135m"]).output.startswith("135m, ")


@pytest.mark.parametrize(
    ("size", "remedy"),
    [("12 parsecs", "There are 135m, 360m, 1b, 1.7b, 3b, 8b, 70b, or"), ("1,7B", r"did you mean 1\.7b\? There are")],
)
def test_a_size_that_is_not_known_is_told_with_those_that_are(size, remedy):
    with pytest.raises(ConfigurationError, match=f"no model of this size is known\n.*\n  remedy: {remedy}"):
        require_size(size)


SHAPES = SMALL.to_diff_dict() | {"model_type": "llama"}
OWN = {"auto_map": {"AutoConfig": "own.C", "AutoModelForCausalLM": "own.M"}}


def folder_of(tmp_path, config):
    (tmp_path / "own.py").write_text("raise SystemExit('the folder's code ran')\n")
    (tmp_path / "config.json").write_text(config if isinstance(config, str) else json.dumps(config))
    return str(tmp_path)


def test_code_of_a_models_folder_is_neither_run_nor_asked_about(tmp_path, monkeypatch):
    monkeypatch.setattr("builtins.input", lambda said: pytest.fail(said))
    config = model_config(folder_of(tmp_path, SHAPES | OWN))
    assert plan_memory(config, parse_settings({}), 1, nodes=1, tokens=16, answer=4)
    with pytest.raises(ConfigurationError, match=r"describes no known model\n.*\n.* needs no code of its own"):
        model_config(folder_of(tmp_path, SHAPES | OWN | {"model_type": "mine"}))


@pytest.mark.parametrize(
    ("config", "said"),
    [
        ({"model_type": "bert"}, "a model of type bert: its config.json has no num_key_value_heads"),
        ({"model_type": "t5"}, "a model of type t5: it"),
        (SHAPES | {"num_attention_heads": 0}, "its config.json describes no known model"),
        (SHAPES | {"num_key_value_heads": 3}, "no step of a model of type llama can be traced"),
        ("[]", "its config.json describes no known model"),
    ],
)
def test_a_folder_whose_plan_cannot_be_made_is_told(tmp_path, config, said):
    with pytest.raises(ConfigurationError, match=said):
        plan_memory(model_config(folder_of(tmp_path, config)), parse_settings({}), 1, nodes=1, tokens=16, answer=4)


@pytest.mark.slow
def test_a_wrong_size_is_told_at_once():
    code = (
        "import sys; from reft.cli import main; sys.argv = ['reft', 'plan', '--model-size', 'huge']\n"
        "try: main()\nexcept SystemExit as end: print(end.code, 'torch' in sys.modules, 'transformers' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "2 False False"


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--tokens", "-5"], "greater than or equal to 0"),
        (["--tokens", "2000000"], "less than or equal to 1000000"),
        (["--gpus", "0"], "greater than or equal to 1"),
        (["--nodes", "0"], "greater than or equal to 1"),
        (["--gpu-memory", "-3"], "-3 is given; wanted: a number, more than 0"),
        (["--gpu-memory", "nan"], "nan is given; wanted: a number, more than 0"),
        (["--gpu-memory", "inf"], "inf is given; wanted: a number, more than 0"),
    ],
)
def test_a_number_out_of_bounds_is_told_with_its_option(options, said):
    found = CliRunner().invoke(app, ["plan", "--model-size", "135m", *options])
    assert found.exit_code == 2
    told = " ".join(found.stderr.replace("│", " ").split())
    assert options[0] in told
    assert said in told
