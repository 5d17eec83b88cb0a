"""How much memory each stage of a run needs on a GPU, and the finetune at every ZeRO stage.

Weights, gradients and optimizer states are counted as DeepSpeed's own estimators count them; what the forward pass
keeps is traced (`reft.plan.trace`); the working memory of a kernel in flight is a rule of thumb, said below.
"""

from dataclasses import dataclass, replace
from typing import Any

import torch

from reft.config import Settings
from reft.errors import ConfigurationError, ReftError, explain
from reft.models.hardware import TOKENS_PER_BATCH, tokens_at_once
from reft.plan.trace import Traced, trace

GIB = 2**30
# The driver's context, NCCL's buffers and loaded kernels: an assumption, to be replaced by what your cluster shows.
OVERHEAD = 2 * GIB
# DeepSpeed's defaults: gradients in flight (ZeRO 1 and 2), and gathered weights that stay (ZeRO 3), in numbers.
BUCKET, LIVE = 500_000_000, 1_000_000_000
# Bytes of a weight in 4 bits: a scale of 8 bits for 64 weights, and one of 32 for 256 of those scales.
FOUR_BITS = 0.5 + 1 / 64 + 4 / (64 * 256)
CHUNK = 512  # tokens whose logits are alive at once in a training step


@dataclass(frozen=True, kw_only=True)
class Need:
    """Bytes that a stage needs on each of its GPUs, and in its pod's main memory.

    Attributes:
        states: weights, gradients and optimizer states.
        activations: what the forward pass keeps for the backward pass.
        working: buffers of the moment, and the overhead that every process has.
        host: what is offloaded; a pod needs that and a few GiB for Python.
    """

    stage: str
    states: int
    activations: int = 0
    working: int = 0
    host: int = 0

    @property
    def gpu(self) -> int:
        """Bytes on each GPU at the peak."""
        return self.states + self.activations + self.working


def states(
    frozen: int, trainable: int, largest: int, *, stage: int, gpus: int, nodes: int = 1,
    optimizer_offload: bool = False, parameter_offload: bool = False,
) -> tuple[int, int]:  # fmt: skip
    """(bytes on each GPU, bytes in each node's main memory) of weights, gradients and AdamW in mixed precision.

    A trainable weight: 2 bytes, and 18 more: gradients in 16 and 32 bits, the weight in 32, two moments. A frozen
    weight: 2. With offload, DeepSpeed's factor of 1.5 for buffers.

    Args:
        largest: weights that ZeRO 3 gathers at once.
        gpus: on each node.
    """
    ranks = gpus * nodes
    shared = 2 * trainable + 18 * trainable // ranks + 2 * frozen
    if stage == 3:
        gathered = 4 * largest if trainable >= largest else 2 * largest
        if parameter_offload:
            return gathered, int(1.5 * (18 * trainable + 2 * frozen) / nodes)
        if optimizer_offload:
            return gathered + 2 * (frozen + trainable) // ranks, int(1.5 * 16 * trainable / nodes)
        return gathered + (18 * trainable + 2 * frozen) // ranks, 0
    if optimizer_offload:
        return 2 * (frozen + trainable), int(1.5 * trainable * max(4 * ranks, 16))
    if stage == 2:
        return shared, 0
    # Whole gradients on every GPU, and without ZeRO whole optimizer states too.
    return (20 * trainable + 2 * frozen, 0) if stage == 0 else (4 * trainable + 16 * trainable // ranks + 2 * frozen, 0)


def plan_memory(config: Any, settings: Settings, gpus: int, *, nodes: int, tokens: int, answer: int) -> list[Need]:
    """Every stage of a run; the finetune once for each ZeRO stage.

    Args:
        config: of the model, as transformers has it.
        tokens, answer: length of a row, and of the answer in it.

    Raises:
        ReftError: no step of such a model can be traced.
    """
    finetuning, teacher = settings.finetuning, settings.teacher
    here = _teaching(config, settings, tokens, answer=answer)
    weights, text = 2 * (here.frozen + (0 if teacher.lora else here.trainable)), config.get_text_config()
    at_once = tokens_at_once(torch.device("cuda"))
    passing = _passing(text, at_once) + OVERHEAD
    labelled = at_once * answer // tokens * text.vocab_size * 10
    cache = 2 * text.num_hidden_layers * text.num_key_value_heads * _head(text) * 2
    written = max(TOKENS_PER_BATCH, tokens + settings.evaluation.max_new_tokens)
    stored = finetuning.distillation == "stored"
    needs = [
        Need(stage="refusal_feature", states=weights, working=passing),
        Need(
            stage="teacher", states=2 * here.frozen + 18 * here.trainable, activations=here.saved,
            working=_stepping(text, teacher.batch_size * tokens) + OVERHEAD,
        ),
        *([Need(stage="soft_labels", states=weights, working=passing + labelled)] if stored else []),
        Need(stage="filtering", states=weights, working=passing),
    ]  # fmt: skip
    beside = 0 if stored else _teacher_beside(here, settings)
    needs += _finetunes(config, settings, gpus=gpus, nodes=nodes, tokens=tokens, answer=answer, beside=beside)
    working = OVERHEAD + _passing(text, written)
    needs.append(Need(stage="evaluation", states=weights, activations=written * cache, working=working))
    return needs


def _teacher_beside(teacher: Traced, settings: Settings) -> int:
    """Bytes of a teacher in memory while the student trains: a second adapter of the same base, or a whole model."""
    model = settings.model
    both = settings.teacher.lora is not None and settings.finetuning.lora is not None
    shared = both and model.aligned in (None, model.name)
    return 2 * (teacher.trainable + (0 if shared else teacher.frozen))


def _finetunes(
    config: Any, settings: Settings, *, gpus: int, nodes: int, tokens: int, answer: int, beside: int
) -> list[Need]:
    """The finetune at every ZeRO stage that it can run at; a base in 4 bits cannot be shared out."""
    finetuning, text = settings.finetuning, config.get_text_config()
    ratio, _ = finetuning.alignment_rows(as_teacher=settings.starts_as_teacher)
    rows = finetuning.micro_batch_size + round(finetuning.micro_batch_size * ratio)
    student = trace(
        config, finetuning.lora, rows, tokens=tokens, learnt=answer, checkpointing=finetuning.gradient_checkpointing
    )
    again = 0
    if finetuning.gradient_checkpointing:
        whole = trace(config, finetuning.lora, rows, tokens=tokens, learnt=answer)
        again = (whole.saved - student.saved) // student.layers  # one layer is run again at a time
    if finetuning.quantized_base:  # counted as so many weights of 16 bits
        student = replace(student, frozen=student.frozen - round(student.linear * (1 - FOUR_BITS / 2)))
    working = again + _stepping(text, rows * tokens)
    return [
        _finetune(student, settings, stage, gpus=gpus, nodes=nodes, working=working, beside=beside)
        for stage in range(3 if finetuning.quantized_base else 4)
    ]


def _teaching(config: Any, settings: Settings, tokens: int, *, answer: int) -> Traced:
    """The teacher's step, the first of its model: what cannot be traced is told here."""
    chosen = settings.teacher
    try:
        return trace(config, chosen.lora, chosen.batch_size, tokens=tokens, learnt=answer)
    except ReftError:
        raise
    except Exception as error:  # the model's own code runs, and fails in its own ways
        what = f"no step of a model of type {config.model_type} can be traced: {error!r:.200}"
        remedy = "name a folder that save_pretrained wrote, of a decoder with PyTorch's attention"
        raise ConfigurationError(explain(what, "its config.json", remedy)) from error


def _finetune(
    student: Traced, settings: Settings, stage: int, *, gpus: int, nodes: int, working: int, beside: int
) -> Need:
    chosen = settings.finetuning
    held, host = states(
        student.frozen, student.trainable, student.largest, stage=stage, gpus=gpus, nodes=nodes,
        optimizer_offload=chosen.optimizer_offload and stage > 0,
        parameter_offload=chosen.parameter_offload and stage == 3,
    )  # fmt: skip
    if stage == 3:
        working += 2 * min(student.frozen + student.trainable, LIVE)
    elif stage:
        working += 4 * min(student.trainable, BUCKET)
    need = Need(
        stage=f"finetune, ZeRO {stage}",
        states=held + beside,
        activations=student.saved,
        working=working + OVERHEAD,
        host=host,
    )
    # Every rank first loads the whole model, which is shared out afterwards.
    loading = 2 * (student.frozen + student.trainable) + beside + OVERHEAD
    return (
        need
        if need.gpu >= loading
        else Need(
            stage=f"{need.stage} (loading)", states=loading - OVERHEAD, activations=0, working=OVERHEAD, host=host
        )
    )


def _head(text: Any) -> int:
    return getattr(text, "head_dim", None) or text.hidden_size // text.num_attention_heads


def _passing(text: Any, tokens: int) -> int:
    """A forward pass that keeps nothing: a layer's input, residual, norms and MLP, in 16 bits."""
    return tokens * 2 * (4 * text.hidden_size + 3 * text.intermediate_size)


def _stepping(text: Any, tokens: int) -> int:
    """A backward pass: a layer's gradients beside what it makes them from, and a chunk of logits in 32 bits."""
    return 2 * _passing(text, tokens) + CHUNK * text.vocab_size * 14


def zero_stages_that_fit(needs: list[Need], gpu_memory: int) -> list[str]:
    """Names of the finetune's stages whose need is at most `gpu_memory` bytes."""
    return [need.stage for need in needs if need.stage.startswith("finetune") and need.gpu <= gpu_memory]
