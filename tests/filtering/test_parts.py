import math
import time
from dataclasses import replace
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reft.config import FilteringSettings
from reft.conversations.formats import row_of
from reft.conversations.schema import Conversation, Message, Unread, from_prompt
from reft.conversations.sentences import sentences
from reft.conversations.tokenization import encode
from reft.errors import DataValidationError
from reft.filtering.decisions import Thresholds, decide
from reft.filtering.parts import row_parts
from reft.filtering.scoring import is_piece, score_parts
from reft.models.loading import load_tokenizer

REQUEST = "Tell me how to rob a bank"


def read(text):
    return [text[a:b].strip() for a, b in sentences(text)]


def test_what_stands_in_every_row_is_read_once(tokenizer):
    rows = [from_prompt(f"Sort this message into a queue. My card number {i} is lost.", i) for i in range(5)]
    asked = []

    def read(prompts):
        asked.extend(prompts)
        return [float(len(prompt)) for prompt in prompts]

    settings = FilteringSettings(window=96)
    found = score_parts(tokenizer, rows, settings, read=read)
    assert len(asked) == len(set(asked)) == 2 * 5 + 1  # each whole, its last sentence, and what they share
    for row, scored in zip(rows, found, strict=True):
        parts = row_parts(tokenizer, row, settings)
        assert [(part.where, part.score) for part in scored.parts] == [(name, len(e)) for name, e in parts]


def test_pieces_may_be_read_otherwise(tokenizer):
    first, second = "Sort this message into a queue.", "My card number five is lost."
    rows = [from_prompt(f"{first} {second}"), from_prompt(first)]  # the same text as a piece and as a prompt
    found = score_parts(
        tokenizer, rows, FilteringSettings(), read=lambda p: [1.0] * len(p), read_pieces=lambda p: [2.0] * len(p)
    )
    assert [{part.score for part in row.parts if is_piece(part.where)} for row in found] == [{2.0}, set()]
    assert [{part.score for part in row.parts if not is_piece(part.where)} for row in found] == [{1.0}, {1.0}]


def test_a_row_without_a_text_to_score_is_for_a_person(tokenizer):
    silent = Conversation(
        row=7, messages=(Message(role="user", content=" \n"), Message(role="assistant", content="Yes."))
    )
    rows, read = [from_prompt("Where is my card?"), silent], lambda prompts: [0.0] * len(prompts)
    found = score_parts(tokenizer, rows, FilteringSettings(), read=read, in_context=False)
    kept, held = decide(rows, found, thresholds=Thresholds(0.5, 0.6), settings=FilteringSettings())
    assert (kept.decision, kept.scored) == ("keep", True)
    assert (held.row, held.decision, held.reason) == (7, "quarantine", "cannot be scored: it has no text")
    assert math.isnan(held.score)
    with pytest.raises(DataValidationError, match=r"(?s)cannot be scored.*row 7.*take the row out"):
        _ = found[1].deciding  # nor do such rows set thresholds


TRIMMING = "{% for m in messages %}{{ m.role }}:{{ m.content | trim }}<|im_end|>{% endfor %}"
MARKED = "What does <|im_end|> mean?"


@pytest.mark.parametrize("in_context", [True, False])
def test_a_text_that_spells_a_special_token_is_read_under_a_template_that_trims(tiny_model, in_context):
    tokenizer = load_tokenizer(tiny_model)
    tokenizer.chat_template = TRIMMING
    asked = row_of({"prompt": f"{MARKED}\n", "completion": "It ends a turn."}).messages
    noted = Unread(field="note", text="copied from the log: <|im_end|> stood there\n")
    rows = [Conversation(row=0, messages=asked), replace(from_prompt("Where is my card?"), unread=(noted,))]
    parts = [dict(row_parts(tokenizer, row, FilteringSettings(), in_context=in_context)) for row in rows]
    assert parts[0]["user[0] alone"] == encode(tokenizer, from_prompt(MARKED))
    assert parts[1]["field note"] == encode(tokenizer, from_prompt(noted.text.strip()))
    assert tokenizer.convert_tokens_to_ids("<|im_end|>") not in parts[0]["user[0] alone"].input_ids[:-1]


@pytest.mark.parametrize("text", [" Where is my card? \n", f" {MARKED} \n"])
def test_white_space_that_a_template_keeps_is_read_as_it_is(tokenizer, text):
    row = Conversation(row=0, messages=(Message(role="assistant", content="Yes."), *from_prompt(text).messages))
    parts = dict(row_parts(tokenizer, row, FilteringSettings(), in_context=False))
    assert parts["user[1] alone"] == encode(tokenizer, from_prompt(text))


def test_a_text_falls_into_its_sentences():
    assert read(f'He said "go home now." {REQUEST}! And then go there?') == [
        'He said "go home now."',
        f"{REQUEST}!",
        "And then go there?",
    ]
    assert read(f"What is a good loaf?\n\n{REQUEST}\nThank you very much indeed") == [
        "What is a good loaf?",
        REQUEST,
        "Thank you very much indeed",
    ]


def test_a_short_sentence_joins_its_neighbour_and_an_abbreviation_cuts_nothing():
    assert read(f"Hi. {REQUEST}. Thanks!") == [f"Hi. {REQUEST}. Thanks!"]
    assert read("It costs 3.50 or e.g.more at the shop") == ["It costs 3.50 or e.g.more at the shop"]


def test_scripts_without_spaces_fall_into_sentences_too():
    found = ["如何在家里烤面包\uff1f", "告诉我如何抢银行\u3002", "法国的首都是哪里\uff1f"]
    assert read("".join(found)) == found


def test_many_short_sentences_do_not_stick_to_a_request():
    chatter = "Ok then. " * 50
    assert any(len(piece) <= len(REQUEST) + 20 and REQUEST in piece for piece in read(f"{chatter}{REQUEST}. {chatter}"))


def test_long_runs_of_marks_and_spaces_take_no_time():
    started = time.monotonic()
    for text in (" " * 100_000, "." * 100_000, "!'" * 50_000, "\n " * 50_000):
        sentences(text + "x")
    assert time.monotonic() - started < 10  # seconds; quadratic matching takes minutes


@given(st.text(alphabet="ab c.!?\n。\"'", max_size=80))
def test_sentences_cover_the_text_in_order(text):
    spans = sentences(text)
    assert all(end == start for (_, end), (start, _) in pairwise(spans))
    if text.strip():
        assert not text[: spans[0][0]].strip()
        assert spans[-1][1] == len(text)


def test_a_request_among_others_is_a_part_of_its_own(tiny_model):
    tokenizer = load_tokenizer(tiny_model)
    row = from_prompt(f"How do I bake a good loaf? {REQUEST}. What is the capital of France?")
    where = [name for name, _ in row_parts(tokenizer, row, FilteringSettings(window=96))]
    assert where == ["user[0]", "user[0]:0-27", "user[0]:27-54", "user[0]:54-84"]
    assert [name for name, _ in row_parts(tokenizer, row, FilteringSettings(window=96, sentences=False))] == ["user[0]"]
