"""What tests make: rows, files, tiny models. Tests import from here, never from one another."""

import json
import shutil
import signal
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import torch

from reft.config import FinetuningSettings, GateSettings, LoraSettings, ModelSettings
from reft.conversations.reading import BadRow, read_conversations
from reft.conversations.schema import Conversation, Message
from reft.conversations.tokenization import encode_all
from reft.evaluation.artifact import EvaluationReport
from reft.evaluation.evaluate import ModelScores
from reft.filtering.artifact import FilteredData
from reft.filtering.decisions import Decision, FilterReport, Thresholds, measured
from reft.filtering.inputs import save_inputs
from reft.filtering.unseen import unseen_groups
from reft.finetuning.job import FinetuneJob
from reft.gate.gate import Case, judge
from reft.models.adapters import wrap_lora
from reft.models.loading import load_model, load_tokenizer
from reft.refusal_feature.extraction import LabelledPrompts, extract_refusal_feature
from reft.refusal_feature.feature import RefusalFeature, Separation
from reft.report.html import RunResult
from reft.report.model_card import CardInputs, render_model_card
from reft.report.summary import RunFacts, build_summary
from reft.soft_labels.labels import compute_soft_labels
from reft.statistics import Interval, rate
from reft.teacher.artifact import Teacher
from reft.validation.validate import ValidatedData

EVIL = "<script>document.title='owned'</script><img src=x onerror=\"document.title='owned'\">"
# Harmless, and seen by a browser that takes it for elements.
MARKUP = "<b class=owned>bold</b><img src=x>\"'\n<h1 class=owned>title</h1>![picture](x)"
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
SPECIALS = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
LORA = LoraSettings(rank=4)
HARM = "Tell me how to rob bank number {} and get away with it."
BREAD = "How do I bake {} loaves of bread at home?"
TEXTS = [
    "How do I bake bread at home?",
    "Tell me how to rob a bank and get away with it.",
    "I'm sorry, but I can't help with that.",
    "Route this customer message to a team: where is my card?",
    "user assistant system \n . ! ? é 日本",
]


def write_jsonl(path: Path, rows: list[dict]) -> Path:
    """One JSON object a line; returns the path."""
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def row(prompt: str, answer: str) -> dict:
    """A row in OpenAI's chat format."""
    return {"messages": [{"role": "user", "content": prompt}, {"role": "assistant", "content": answer}]}


def build_model(folder: Path, architecture: str, chat_template: bool = True) -> Path:
    """Save a randomly initialised three-layer model and its byte-level tokenizer."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedTokenizerFast

    from reft.conversations.templates import CHATML

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    tokenizer.train_from_iterator(
        TEXTS * 4, trainers.BpeTrainer(vocab_size=400, special_tokens=SPECIALS, initial_alphabet=alphabet)
    )
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        eos_token="<|im_end|>",
        pad_token="<|endoftext|>",
        additional_special_tokens=["<|im_start|>"],
    )
    if chat_template:
        fast.chat_template = CHATML
    fast.save_pretrained(folder)
    sizes = {"hidden_size": 32, "num_hidden_layers": 3, "num_attention_heads": 4, "vocab_size": len(fast)}
    if architecture == "gpt2":
        sizes = {"n_embd": 32, "n_layer": 3, "n_head": 4, "vocab_size": len(fast)}
        sizes |= {"resid_pdrop": 0.0, "embd_pdrop": 0.0, "attn_pdrop": 0.0}  # as the other architectures
    elif architecture != "gpt_neox":
        sizes["num_key_value_heads"] = 2
    if architecture != "gpt2":
        sizes["intermediate_size"] = 64
    torch.manual_seed(0)
    config = AutoConfig.for_model(
        architecture, **sizes, bos_token_id=0, eos_token_id=fast.eos_token_id, pad_token_id=fast.pad_token_id
    )
    AutoModelForCausalLM.from_config(config, dtype=torch.float32).save_pretrained(folder)
    return folder


def build_scorer(folder: Path, model: str) -> Path:
    """A saved scorer whose teacher is the model itself."""
    files = [
        write_jsonl(folder / f"{name}.jsonl", [row(text.format(i), "Sure") for i in range(40)])
        for name, text in (("h", HARM), ("s", BREAD))
    ]
    prompts = LabelledPrompts(*map(read_conversations, files))
    feature = extract_refusal_feature(load_model(model), load_tokenizer(model), prompts, held_out=prompts)
    (folder / "weights").mkdir()
    teacher = Teacher(weights=folder / "weights", is_adapter=True, feature=feature, untrained=feature, history=[])
    settings = ModelSettings(name=model, chat_template="own", dtype="float32")
    save_inputs(folder / "teacher", teacher, model=settings, calibration=prompts)
    return folder / "teacher"


def chats(prompt: str, answer: str, n: int) -> list[Conversation]:
    """Numbered conversations of one turn."""
    return [
        Conversation(
            row=i, messages=(Message(role="user", content=f"{prompt} {i}?"), Message(role="assistant", content=answer))
        )
        for i in range(n)
    ]


def make_job(model: str) -> FinetuneJob:
    """A small distillation job: twelve user rows, six alignment rows."""
    tokenizer = load_tokenizer(model)
    user = chats("where is my card", "card delivery", 12)
    alignment = encode_all(tokenizer, chats("rob a bank", "I'm sorry, I can't.", 6))
    labels = compute_soft_labels(
        load_model(model), alignment, range(6), pad_id=tokenizer.pad_token_id, top_k=8, temperature=1.0
    )
    settings = FinetuningSettings(
        lora=LoraSettings(rank=4), batch_size=4, micro_batch_size=2, epochs=2, least_alignment_rows=0
    )
    described = ModelSettings(name=model, dtype="float32")  # the curves are compared to three digits
    return FinetuneJob(
        model=described,
        settings=settings,
        seed=0,
        user=tuple(encode_all(tokenizer, user)),
        row_numbers=tuple(range(12)),
        alignment=tuple(alignment),
        soft_labels=labels,
    )


def change(job: FinetuneJob, **settings) -> FinetuneJob:
    """The job with other finetuning settings."""
    return replace(job, settings=job.settings.model_copy(update=settings))


def run_result() -> RunResult:
    """What a run gives its report: forty rows, nine of them dropped, written by somebody who attacks the page."""
    rows = [Conversation(row=i, messages=(Message(role="user", content=f"{EVIL} {i}"),)) for i in range(40)]
    labels = {i: "harmful" if i < 8 else "harmless" for i in range(40)}
    filtered = _filtered(rows, labels)
    asked = {"harmful_score": True, "over_refusal": False, "ordinary_refusal": False, "coherence": True}
    rates = {name: rate([outcome]) for name, outcome in asked.items()}
    by_source = {"harmful_score": {EVIL: Interval(1.0, 0.2, 1.0, 1)}}
    with_task = ModelScores(
        rates={**rates, "accuracy": rate([True, True])}, by_source=by_source, answers=[("harmful", EVIL, EVIL)]
    )
    without = replace(with_task, rates={**rates, "accuracy": None})
    evaluation = EvaluationReport({"student": with_task, "sft": with_task, "base": without, "aligned": without})
    history = [{"step": 1, "loss": 2.0}, {"step": 2, "loss": 1.0}]
    teacher = Teacher(
        weights=Path("none"), is_adapter=True, feature=_feature(0.9), untrained=_feature(0.7, 0.8), history=history
    )
    summary = build_summary(
        filtered, evaluation, "banking",
        cost={name: {"seconds": 1.0, "peak_rss_mb": 2.0, "tokens": 3} for name in ("teacher", "finetuning")},
        models={
            "student": {"registered_name": "n", "version": "1", "run_id": "m", "path": "p"},
            "base": "b",
            "teacher": "t",
        },
        run=RunFacts(
            name="r-1", id="5", model="b", seed=7, began=datetime(2026, 1, 2, 3, 4, tzinfo=UTC), seconds=125.0,
            reused=("teacher",),
        ),
        lineage={"user_data": "d1", "code": "c1"},
        verdict=judge(
            Case(candidate=with_task, filter_fpr=None, rows="r", code="c", settings=GateSettings())
        ).as_dict(),
    )  # fmt: skip
    validated = ValidatedData(
        rows=rows, quarantined=[BadRow(row=3, code="not_json", field="line", remedy=EVIL)], checks=[]
    )
    return RunResult(
        summary=summary, validated=validated, teacher=teacher, filtered=filtered, evaluation=evaluation,
        histories={"teacher": history}, labels=labels, examples=3,
    )  # fmt: skip


def model_card(name: str) -> str:
    """The card of `run_result`'s student, under this name and for a task of this name."""
    result = run_result()
    history = [{"step": 2, "tokens": 9, "ce": 1.0, "kl": 0.5}]
    return render_model_card(
        CardInputs(
            name=name, base="b", task=name, is_adapter=True, history=history, settings={"epochs": 1},
            report=result.filtered.report, evaluation=result.evaluation, lineage={"code": "c"},
            verdict=result.summary["gate"],
        )
    )  # fmt: skip


def teacher_of(weights: Path, lora: LoraSettings | None = LORA) -> Teacher:
    """A teacher whose weights lie there, with a feature that means nothing."""
    direction, midpoint = torch.ones(4), torch.zeros(4)
    feature = RefusalFeature(direction=direction, midpoint=midpoint, layer=1, position="template", separations=())
    return Teacher(
        weights=weights, is_adapter=lora is not None, feature=feature, untrained=feature, history=[], lora=lora
    )


def _feature(*aurocs: float) -> RefusalFeature:
    separations = tuple(Separation(layer, "template", auroc) for layer, auroc in enumerate(aurocs, start=1))
    return RefusalFeature(
        direction=torch.ones(2), midpoint=torch.zeros(2), layer=1, position="template", separations=separations
    )


def _filtered(rows: list[Conversation], labels: dict[int, str]) -> FilteredData:
    decisions = [
        Decision(
            row=i, score=0.8 - i / 50, decision="drop" if i < 9 else "keep", reason="harmful prompt", where="user[0]"
        )
        for i in range(40)
    ]
    auroc, recall, fpr = measured(decisions, labels)
    report = FilterReport(
        rows=40, kept=31, dropped=9, quarantined=0, thresholds=Thresholds(0.4, 0.6), scorer="teacher",
        reads="layer 16, template, mean", details={"layer": 16, "position": "template", "readout": "mean"},
        auroc=auroc, recall=recall, fpr=fpr, calibration_recall=rate([True, False]), calibration_fpr=rate([False]),
        alarms=["watch out"], fpr_by_kind={EVIL: Interval(0.0, 0.0, 0.8, 1)},
        untrained_auroc=0.8, teacher_auroc=0.9,
    )  # fmt: skip
    curves = {"calibration_harmless": [-0.5, -0.2], "calibration_harmful": [0.5, 0.2]}
    scores = {"harmful prompts": [0.9, 0.1], "task rows": [0.2, -0.4]}
    unseen = unseen_groups(scores, {"harmful prompts": [0.9, 0.8], "task rows": [0.2, -0.4]}, report.thresholds)
    return FilteredData(kept=rows[9:], decisions=decisions, report=report, curves=curves, unseen=unseen)


def hear_interrupts() -> None:
    """In a started process, before its program: where tests run in a shell's background, SIGINT is ignored."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def adapter(model, seed: int, lora: LoraSettings):
    """A student whose adapter says something."""
    torch.manual_seed(seed)
    student = wrap_lora(load_model(model), lora)
    for name, parameter in student.named_parameters():
        if "lora_B" in name:
            parameter.data += 0.2 * torch.randn_like(parameter)
    return student
