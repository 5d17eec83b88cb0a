"""KL(p_teacher || p_student), from the teacher's whole distribution or from sparse soft labels."""

import torch
import torch.nn.functional as F


def full_kl_sum(student_logits: torch.Tensor, teacher_logits: torch.Tensor, temperature: float) -> torch.Tensor:
    """Summed KL over tokens; neither T^2 nor alpha is applied here.

    Args:
        student_logits, teacher_logits: [tokens, vocabulary], float32, not yet divided by the temperature.
    """
    teacher = torch.log_softmax(teacher_logits / temperature, dim=-1)
    student = torch.log_softmax(student_logits / temperature, dim=-1)
    return F.kl_div(student, teacher, reduction="sum", log_target=True)


def sparse_kl_sum(
    student_logits: torch.Tensor, teacher_log_probs: torch.Tensor, indices: torch.Tensor, *, temperature: float
) -> torch.Tensor:
    """Summed KL over tokens; the tokens outside the top k count as one, with the mass that is left.

    It never exceeds the full KL (merging outcomes cannot add information) and equals it as k grows
    to the vocabulary. Neither T^2 nor alpha is applied here.

    Args:
        student_logits: [tokens, vocabulary], float32, not yet divided by the temperature.
        teacher_log_probs: [tokens, k], already at the temperature.
        indices: [tokens, k], which tokens they are.
    """
    student = torch.log_softmax(student_logits / temperature, dim=-1).gather(-1, indices.long())
    teacher = teacher_log_probs.float()
    within = (teacher.exp() * (teacher - student)).sum(-1)
    teacher_tail, student_tail = _tail(teacher), _tail(student)
    beyond = teacher_tail * (teacher_tail.clamp_min(1e-12).log() - student_tail.clamp_min(1e-12).log())
    return (within + beyond).sum()


def _tail(log_probs: torch.Tensor) -> torch.Tensor:
    return (1.0 - log_probs.exp().sum(-1)).clamp_min(0.0)
