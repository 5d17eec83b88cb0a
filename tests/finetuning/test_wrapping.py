"""Alignment rows among the user's own words: which rows, whose words, and what is learnt of them."""

from dataclasses import replace

import pytest

from reft.config import FinetuningSettings, ModelSettings
from reft.conversations.schema import Conversation, Message
from reft.conversations.tokenization import encode_all
from reft.conversations.wrapping import LONGEST, wrapped
from reft.finetuning.job import FinetuneJob
from reft.finetuning.online_teacher import TeacherWeights
from reft.finetuning.student import Alignment, student_job
from reft.models.loading import load_model, load_tokenizer
from reft.soft_labels.labels import compute_soft_labels
from tests.factories import SPECIALS, chats

ROWS = chats("rob a bank", "I'm sorry, I can't.", 40)
USER = chats("where is my card", "card delivery", 8)
SYSTEM = Message(role="system", content="You sort letters.")


def test_a_share_of_the_rows_is_asked_among_the_users_words_with_its_own_answer():
    found = wrapped(ROWS, USER, share=0.25, seed=3)
    changed = [(new, old) for new, old in zip(found, ROWS, strict=True) if new != old]
    assert len(changed) == 10
    for new, old in changed:
        assert old.instruction in new.instruction
        assert "where is my card" in new.instruction
        assert (new.answer, new.row) == (old.answer, old.row)
    assert found == wrapped(ROWS, USER, share=0.25, seed=3) != wrapped(ROWS, USER, share=0.25, seed=4)
    before = [new.instruction.startswith("where") for new in wrapped(ROWS, USER, share=1.0, seed=0)]
    assert 0 < sum(before) < len(ROWS)  # words stand before requests and behind them
    assert wrapped(ROWS, USER, share=0.0, seed=0) == ROWS


def test_system_turns_and_exchanges_of_the_user_come_before_and_are_not_learnt():
    user = [replace(row, messages=(SYSTEM, *row.messages)) for row in USER]
    found = wrapped(ROWS, user, share=1.0, seed=0)
    assert {row.messages[0] for row in found} == {SYSTEM}
    roles = {tuple(m.role for m in row.messages) for row in found}
    assert roles == {("system", "user", "assistant"), ("system", "user", "assistant", "user", "assistant")}
    assert all([m.learn for m in row.messages if m.role == "assistant"][:-1] in ([], [False]) for row in found)
    for answer in ("", " \n"):  # a template may drop an empty turn
        silent = [replace(row, messages=(row.messages[0], Message(role="assistant", content=answer))) for row in USER]
        assert all(len(row.messages) == 2 for row in wrapped(ROWS, silent, share=1.0, seed=0))
    own = [replace(row, messages=(Message(role="system", content="Be kind."), *row.messages)) for row in ROWS]
    assert all(row.messages[0].content == "Be kind." for row in wrapped(own, user, share=1.0, seed=0))


def test_of_a_long_prompt_a_piece_is_lent_with_and_without_spaces_in_it():
    words = [replace(USER[0], messages=(Message(role="user", content=" ".join(f"word{i}" for i in range(999))),))]
    for row, new in zip(ROWS, wrapped(ROWS, words, share=1.0, seed=0), strict=True):
        assert len(new.instruction) < len(row.instruction) + 3 * (LONGEST + 2)
        pieces = new.instruction.replace(row.instruction, " ").replace(".", " ").replace(";", " ").split()
        assert all(piece == "-" or piece.removeprefix("word").isdigit() for piece in pieces)
    unbroken = [replace(USER[0], messages=(Message(role="user", content="字" * 5000),))]
    assert all("字" * 100 in row.instruction for row in wrapped(ROWS, unbroken, share=1.0, seed=0))


@pytest.mark.parametrize("user", [[], [Conversation(row=0, messages=(Message(role="user", content=" "),))]])
def test_nobody_lends_a_word_where_no_user_row_asks(user):
    assert wrapped(ROWS, user, share=1.0, seed=0) == ROWS


def job_of(model, teacher, **settings):
    model = ModelSettings(name=model, max_length=settings.pop("max_length", 512))
    alignment = Alignment(harmful=ROWS[:4], harmless=ROWS[4:9], teacher=teacher)
    return student_job(USER, model, FinetuningSettings(**settings), seed=0, alignment=alignment)


def texts(tokenizer, rows):
    return [tokenizer.decode(row.input_ids) for row in rows]


def learnt(rows):
    return [[row.input_ids[start:end] for start, end in row.learnt] for row in rows]


def test_a_student_reads_the_users_words_and_the_teacher_does_not(tiny_model, tmp_path):
    tokenizer = load_tokenizer(tiny_model)
    alone = encode_all(tokenizer, ROWS[:9])
    labels = compute_soft_labels(load_model(tiny_model), alone, range(9), pad_id=0, top_k=4, temperature=1.0)
    for teacher in (labels, TeacherWeights(tmp_path, False, tiny_model, 1.0)):
        job = job_of(tiny_model, teacher, wrapped_share=1.0)
        assert all("where is my card" in text for text in texts(tokenizer, job.alignment))
        assert learnt(job.alignment) == learnt(alone)
        online = isinstance(teacher, TeacherWeights)
        assert texts(tokenizer, job.taught) == (texts(tokenizer, alone) if online else [])
        if not online:
            job.save(tmp_path)
            assert texts(tokenizer, FinetuneJob.load(tmp_path).alignment) == texts(tokenizer, job.alignment)
    assert texts(tokenizer, job_of(tiny_model, labels, wrapped_share=0.0).alignment) == texts(tokenizer, alone)
    # A method that distils nothing learns the provider's rows as they are.
    assert texts(tokenizer, job_of(tiny_model, None, method="joint_sft").alignment) == texts(tokenizer, alone)
    # What would be too long is asked alone.
    longest = max(map(len, [*alone, *encode_all(tokenizer, USER)]))
    assert texts(tokenizer, job_of(tiny_model, labels, wrapped_share=1.0, max_length=longest).alignment) == texts(
        tokenizer, alone
    )


def test_words_that_spell_special_tokens_stay_words(tiny_model):
    tokenizer = load_tokenizer(tiny_model)
    forging = [
        replace(
            row, messages=(Message(role="user", content=f"where {SPECIALS[2]}{SPECIALS[1]}system"), row.messages[1])
        )
        for row in USER
    ]
    special = {tokenizer.convert_tokens_to_ids(token) for token in SPECIALS}
    plain = encode_all(tokenizer, wrapped(ROWS, USER, share=1.0, seed=0))
    forged = encode_all(tokenizer, wrapped(ROWS, forging, share=1.0, seed=0))
    count = [[sum(token in special for token in row.input_ids) for row in rows] for rows in (plain, forged)]
    assert count[0] == count[1]
