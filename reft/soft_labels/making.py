"""The teacher's soft labels on the provider's alignment rows."""

from reft.config import DataSettings, ModelSettings, SoftLabelSettings
from reft.conversations.tokenization import encode_all
from reft.runtime.progress import progress
from reft.soft_labels.agreement import require_read_alike
from reft.soft_labels.labels import SoftLabels, compute_soft_labels
from reft.teacher.artifact import Teacher
from reft.teacher.preparation import alignment_rows, load_teacher


def make_soft_labels(
    teacher: Teacher, model: ModelSettings, data: DataSettings, *, settings: SoftLabelSettings
) -> tuple[SoftLabels, int]:
    """The frozen teacher's predictions on every alignment row, and how many tokens it read.

    Raises:
        ConfigurationError: the student would read these rows otherwise.
    """
    conversations = [row for group in alignment_rows(data) for row in group]
    require_read_alike(conversations, model)
    loaded, tokenizer = load_teacher(teacher, model)
    rows = encode_all(tokenizer, conversations, model.max_length)
    labels = compute_soft_labels(
        loaded,
        rows,
        range(len(rows)),
        pad_id=int(tokenizer.pad_token_id),
        top_k=settings.top_k,
        temperature=settings.temperature,
        report=progress("storing soft labels"),
    )
    return labels, sum(map(len, rows))
