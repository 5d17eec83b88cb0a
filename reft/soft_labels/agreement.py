"""Whether teacher and student read the alignment rows alike: what one says of a token is learnt at that token only."""

from collections.abc import Sequence

from reft.config import ModelSettings
from reft.conversations.schema import Conversation
from reft.conversations.tokenization import Encoded, encode_all
from reft.errors import ConfigurationError, explain
from reft.models.default_model import resolve_model
from reft.models.loading import load_tokenizer
from reft.soft_labels.labels import SoftLabels

REMEDY = (
    "name an aligned model of the same tokenizer, and a template that both write alike in model.chat_template "
    "(chatml or a Jinja file); or leave model.aligned out"
)


def require_read_alike(rows: Sequence[Conversation], model: ModelSettings) -> None:
    """See that the base model's tokenizer and template make the same tokens of all answers as the aligned model's.

    What stands around the answers may differ.

    Raises:
        ConfigurationError: naming the first row of which they do not.
    """
    if model.aligned is None or model.aligned == model.name:
        return
    names = [resolve_model(name) for name in (model.name, model.aligned)]
    tokenizers = [load_tokenizer(name, model.chat_template, model.trust_remote_code) for name in names]
    base, aligned = (encode_all(tokenizer, rows) for tokenizer in tokenizers)
    for row, one, other in zip(rows, base, aligned, strict=True):
        if _learnt(one) != _learnt(other):
            words = " and ".join(
                repr(tokenizer.decode(_learnt(encoded)[-5:]))
                for tokenizer, encoded in zip(tokenizers, (one, other), strict=True)
            )
            what = f"the base model and the aligned one read the answer of an alignment row otherwise (ends: {words})"
            raise ConfigurationError(explain(what, f"model.aligned, row {row.row}", REMEDY))


def require_labels_of(labels: SoftLabels, rows: Sequence[Encoded]) -> None:
    """See that there is a soft label for each learnt token of each row.

    Raises:
        ConfigurationError: there is not.
    """
    found, wanted = labels.starts.diff().tolist(), [row.learnt_tokens for row in rows]
    if found == wanted:
        return
    place = next((i for i, pair in enumerate(zip(found, wanted, strict=False)) if pair[0] != pair[1]), None)
    what = f"soft labels of {len(found)} rows for {len(wanted)}"
    if place is not None:
        what = f"soft labels of {found[place]} tokens for {wanted[place]} of alignment row {place}"
    raise ConfigurationError(explain(what, "the student's alignment rows", f"make them anew of these rows; {REMEDY}"))


def _learnt(row: Encoded) -> list[int]:
    return [token for start, end in row.learnt for token in row.input_ids[start:end]]
