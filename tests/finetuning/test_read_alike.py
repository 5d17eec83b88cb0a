"""A teacher from another model than the student's speaks of the tokens that the student learns, or is refused."""

import pytest
from transformers import AutoTokenizer

from reft.config import DataSettings, FinetuningSettings, ModelSettings, SoftLabelSettings
from reft.conversations.tokenization import encode_all
from reft.errors import ConfigurationError
from reft.finetuning.online_teacher import TeacherWeights
from reft.finetuning.student import Alignment, student_job
from reft.models.loading import load_model, load_tokenizer
from reft.soft_labels.labels import compute_soft_labels
from reft.soft_labels.making import make_soft_labels
from tests.factories import HARM, build_model, chats, row, teacher_of, write_jsonl

ANSWERS = chats("rob a bank", "I'm sorry, I can't.", 3)
SETTINGS = FinetuningSettings()


def models(folder, end):
    """A base model without a template, and an aligned one whose own template ends an answer with `end`."""
    base, aligned = build_model(folder / "base", "llama", chat_template=False), build_model(folder / "aligned", "llama")
    tokenizer = AutoTokenizer.from_pretrained(aligned)
    tokenizer.chat_template = tokenizer.chat_template.replace("'<|im_end|>'", f"'{end}'")
    tokenizer.save_pretrained(aligned)
    return ModelSettings(name=str(base), aligned=str(aligned), chat_template="auto")


def labels_of(model, rows=ANSWERS):
    encoded = encode_all(load_tokenizer(model.aligned), rows)
    return compute_soft_labels(
        load_model(model.aligned), encoded, range(len(encoded)), pad_id=0, top_k=4, temperature=1.0
    )


def job_of(model, teacher):
    return student_job(ANSWERS, model, SETTINGS, seed=0, alignment=Alignment(harmful=ANSWERS, teacher=teacher))


def test_another_end_of_an_answer_is_refused_before_anything_is_made(tmp_path):
    """Of the same number of tokens, so that nothing else would notice."""
    model = models(tmp_path, "<|endoftext|>")
    for teacher in (labels_of(model), TeacherWeights(tmp_path, False, str(model.aligned), 1.0)):
        with pytest.raises(ConfigurationError, match=r"(?s)im_end.*endoftext.*model\.aligned, row 0.*chat_template"):
            job_of(model, teacher)
    file = str(write_jsonl(tmp_path / "rows.jsonl", [row(HARM, "No.")]))
    data = DataSettings(alignment_harmful=file, alignment_harmless=file)
    with pytest.raises(ConfigurationError, match=r"model\.aligned, row"):
        make_soft_labels(teacher_of(tmp_path), model, data, settings=SoftLabelSettings())


def test_another_beginning_is_none_of_the_answer(tmp_path):
    model = models(tmp_path, "<|im_end|>")
    tokenizer = AutoTokenizer.from_pretrained(model.aligned)
    tokenizer.chat_template = "{{ '<|endoftext|>' }}" + tokenizer.chat_template
    tokenizer.save_pretrained(model.aligned)
    assert len(job_of(model, labels_of(model)).alignment) == 3


def test_soft_labels_of_other_rows_are_refused(tmp_path):
    model = models(tmp_path, "<|im_end|>")
    longer = [*ANSWERS[:2], *chats("rob a bank", "I'm sorry, but I really can't.", 1)]
    with pytest.raises(ConfigurationError, match=r"soft labels of \d+ tokens for \d+ of alignment row 2"):
        job_of(model, labels_of(model, longer))
    with pytest.raises(ConfigurationError, match="soft labels of 2 rows for 3"):
        job_of(model, labels_of(model, ANSWERS[:2]))
