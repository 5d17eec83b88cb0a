"""Ways to train that a setting chooses, each through the real launcher."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from peft import AutoPeftModelForCausalLM
from transformers import AutoModelForCausalLM, AutoTokenizer, GenerationConfig

from reft.config import parse_settings
from reft.conversations.tokenization import encode_all
from reft.errors import ConfigurationError
from reft.finetuning.deepspeed_config import deepspeed_config
from reft.finetuning.launch import run_finetune
from reft.finetuning.online_teacher import TeacherWeights
from reft.finetuning.schedule import MicroBatch
from reft.finetuning.student_loss import StudentLoss
from reft.judges.refusal_matcher import is_refusal
from reft.models.head import TOKENS_PER_CHUNK
from reft.models.loading import load_model, load_tokenizer
from reft.soft_labels.labels import compute_soft_labels
from tests.factories import change, chats


def losses(job, folder):
    metrics = []
    return run_finetune(job, folder, metrics.append), [m["loss"] for m in metrics]


@pytest.mark.night
@pytest.mark.slow
def test_stage_three_offloaded_online_and_packed_is_the_same_training(job, tmp_path):
    """Everything that saves memory at once, on two ranks, against the plain way; and what it leaves is whole."""
    full = replace(
        job,
        soft_labels=compute_soft_labels(
            load_model(job.model.name), job.alignment, range(6), pad_id=0, top_k=999, temperature=1.0
        ),
    )
    plain, expected = losses(change(full, zero_stage=0), tmp_path / "plain")
    teacher = TeacherWeights(job.model.name, False, job.model.name, 1.0)
    saving = {"zero_stage": 3, "optimizer_offload": True, "parameter_offload": True, "gradient_checkpointing": True}
    online = change(replace(job, soft_labels=None, teacher=teacher), processes=2, packing=True, merged=True, **saving)
    merged, found = losses(online, tmp_path / "saving")
    np.testing.assert_allclose(found, expected, rtol=1e-3)
    inputs = torch.tensor([job.user[0].input_ids])
    with torch.no_grad():
        one = AutoPeftModelForCausalLM.from_pretrained(plain)(inputs).logits
        other = AutoModelForCausalLM.from_pretrained(merged)(inputs).logits
        base = load_model(job.model.name)(inputs).logits
    torch.testing.assert_close(one, other, rtol=1e-2, atol=1e-3)
    assert (one - base).abs().max() > 10 * (one - other).abs().max()
    for folder in (plain, merged):
        assert AutoTokenizer.from_pretrained(folder).chat_template
        GenerationConfig.from_pretrained(folder)
    assert not list(merged.glob("adapter*"))


@pytest.mark.slow
def test_stage_three_on_two_ranks_where_one_has_fewer_rows_or_chunks(job, tmp_path):
    """Thirteen rows leave one for the last step, and one answer's logits take two chunks."""
    rows = [*chats("where is my card", "card delivery", 12), *chats("say it", "é日本" * 200, 1)]
    user = encode_all(load_tokenizer(job.model.name), rows)
    assert user[-1].learnt_tokens > TOKENS_PER_CHUNK
    # Without this the tiny head is one of those small weights that are whole on every rank.
    whole = {"zero_optimization": {"stage3_param_persistence_threshold": 0}}
    uneven = replace(change(job, epochs=1), user=tuple(user), row_numbers=tuple(range(13)))
    _, expected = losses(uneven, tmp_path / "one")
    saving = change(uneven, processes=2, zero_stage=3, deepspeed=whole, stalled_minutes=1)
    _, found = losses(saving, tmp_path / "two")
    assert len(found) == 4
    np.testing.assert_allclose(found, expected, rtol=1e-3)


@pytest.mark.slow
def test_a_teacher_alone_moves_the_refusals(job, tmp_path):
    """No user data: the student refuses what the teacher refuses, and answers what it answers."""
    tokenizer = load_tokenizer(job.model.name)
    rows = encode_all(
        tokenizer, [*chats("rob a bank", "I'm sorry, but I can't help.", 8), *chats("bake bread", "Where at home?", 8)]
    )
    teacher = load_model(job.model.name)
    taught = replace(job, user=tuple(rows), row_numbers=tuple(range(16)), alignment=(), soft_labels=None)
    optimizer, loss = torch.optim.AdamW(teacher.parameters(), 1e-2), StudentLoss(teacher, taught, pad_id=0)
    for _ in range(40):
        loss(MicroBatch(tuple(range(16)), ()), MicroBatch(tuple(range(16)), ()))["loss"].backward()
        optimizer.step()
        optimizer.zero_grad()
    labels = compute_soft_labels(teacher.eval(), rows, range(16), pad_id=0, top_k=32, temperature=1.0)
    alone = replace(job, user=(), row_numbers=(), alignment=tuple(rows), soft_labels=labels, harmful=8)
    settings = {"lora": None, "learning_rate": 1e-2, "epochs": 30, "harmful_share": None, "micro_batch_size": 4}
    output, curve = losses(change(alone, **settings), tmp_path / "job")
    assert len(curve) == 120
    assert curve[-1] < 0.1 * curve[0]
    answers = []
    for model in (load_model(job.model.name), teacher, load_model(str(output))):
        answers.append([])
        for row in rows:
            prompt = torch.tensor([row.input_ids[: row.completion[0]]])
            said = model.generate(prompt, max_new_tokens=8, do_sample=False)[0, prompt.shape[1] :]
            answers[-1].append(is_refusal(tokenizer.decode(said, skip_special_tokens=True)))
    assert answers[0] == [False] * 16
    assert answers[1] == [True] * 8 + [False] * 8
    assert answers[2] == answers[1]


@pytest.mark.slow
def test_compiled_layers_learn_the_same(job, tmp_path, monkeypatch):
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path / "compiled"))
    _, expected = losses(change(job, compile_layers=False), tmp_path / "as they are")
    assert not list(tmp_path.glob("compiled/**/*.so"))
    _, found = losses(change(job, compile_layers=True), tmp_path / "faster")
    assert list(tmp_path.glob("compiled/**/*.so"))
    assert len(found) > 4
    assert found == pytest.approx(expected, abs=1e-3)


@pytest.mark.parametrize("stage", [{"zero_stage": 3}, {"deepspeed": {"zero_optimization": {"stage": 3}}}])
def test_layers_whose_weights_come_and_go_are_not_compiled(stage):
    with pytest.raises(ConfigurationError, match="compile_layers needs a zero_stage below 3"):
        settings(compile_layers=True, **stage)


@pytest.mark.slow
def test_a_quantized_base_under_an_adapter(job, tmp_path):
    pytest.importorskip("bitsandbytes")
    output, curve = losses(change(job, quantized_base=True, epochs=6), tmp_path / "job")
    assert curve[-1] < curve[0]
    assert (output / "adapter_model.safetensors").is_file()
    load_model(job.model.name, adapter=output)


def settings(**finetune):
    return parse_settings({"finetuning": finetune}).finetuning


def rates_of(steps, **given):
    """The learning rate of each step, as DeepSpeed's own schedule has it."""
    from deepspeed.runtime import lr_schedules

    wanted = deepspeed_config(settings(learning_rate=0.1, **given), steps, "float32", on_cpu=True)["scheduler"]
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=0.1)
    scheduler = getattr(lr_schedules, wanted["type"])(optimizer, **wanted["params"])
    if scheduler.last_batch_iteration < 0:  # as a rank does before its first step
        scheduler.step()
    rates = []
    for _ in range(steps):
        rates.append(optimizer.param_groups[0]["lr"])
        scheduler.step()
    return rates


SCHEDULES = ["cosine", "linear", "constant"]


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_the_learning_rate_follows_its_schedule(schedule):
    rates = rates_of(20, schedule=schedule, warmup_share=0.2)
    assert rates[0] < rates[2] <= max(rates) == pytest.approx(0.1, rel=0.05)
    assert rates[-1] == pytest.approx({"cosine": 0.0, "linear": 0.01, "constant": 0.1}[schedule], abs=0.01)


@pytest.mark.parametrize("schedule", ["cosine", "linear"])
def test_a_rate_that_does_not_rise_falls_all_the_same(schedule):
    rates = rates_of(10, schedule=schedule, warmup_share=0.0)
    assert rates[0] == 0.1
    assert rates == sorted(rates, reverse=True)
    assert rates[-1] < 0.02


@pytest.mark.parametrize("schedule", SCHEDULES)
@pytest.mark.parametrize("share", [0.0, 0.05, 0.5, 1.0])
@pytest.mark.parametrize("steps", [1, 2, 3, 7])
def test_the_peak_rate_is_reached_however_few_the_steps_and_long_the_warm_up(schedule, share, steps):
    rates = rates_of(steps, schedule=schedule, warmup_share=share)
    assert max(rates) == pytest.approx(0.1)
    assert rates[0] == pytest.approx(0.01 if share and steps > 2 else 0.1)


def test_deepspeeds_own_configuration_is_taken_and_completed(tmp_path):
    own = {
        "zero_optimization": {"stage": 3, "overlap_comm": False, "reduce_bucket_size": "auto"},
        "optimizer": {"type": "Lion", "params": {"lr": 0.5}},
        "gradient_clipping": "auto",
        "train_batch_size": "auto",
    }
    (tmp_path / "ds.json").write_text(json.dumps(own))
    given = settings(deepspeed=str(tmp_path / "ds.json"), max_grad_norm=0.3)
    config = deepspeed_config(given, 10, "float32", on_cpu=True)
    assert config["zero_optimization"] == {"stage": 3, "overlap_comm": False}
    assert config["optimizer"] == {"type": "Lion", "params": {"lr": 0.5}}
    assert config["gradient_clipping"] == 0.3
    assert config["scheduler"]["type"] == "WarmupCosineLR"
    with pytest.raises(ConfigurationError, match=r"train_batch_size is 64.*2 follows"):
        deepspeed_config(settings(deepspeed={"train_batch_size": 64}), 10, "float32", on_cpu=True)
    with pytest.raises(ConfigurationError, match=r"finetuning\.deepspeed: the file .*none\.json cannot be read"):
        settings(deepspeed=str(tmp_path / "none.json"))


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"optimizer_offload": True, "zero_stage": 0}, "optimizer_offload needs"),
        ({"parameter_offload": True}, "parameter_offload needs"),
        ({"batch_size": 3, "processes": 2}, "multiple of processes"),
        ({"quantized_base": True, "merged": True}, "quantized_base needs"),
        ({"quantized_base": True, "lora": None}, "quantized_base needs"),
        ({"quantized_base": True, "zero_stage": 3}, "quantized_base needs"),
        ({"quantized_base": True, "deepspeed": {"zero_optimization": {"stage": 3}}}, "quantized_base needs"),
    ],
)
def test_settings_that_do_not_go_together(wrong, words):
    with pytest.raises(ConfigurationError, match=words):
        settings(**wrong)
