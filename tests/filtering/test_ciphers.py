import random
import time
from dataclasses import replace

import pytest

from benchmarks.cipher_sets import ENCODINGS, cipher_set
from benchmarks.honest_sets import honest_set, makers
from reft.conversations.reading import read_conversations
from reft.filtering.ciphers import cipher_alarms
from reft.filtering.columns import columns
from reft.filtering.data_alarms import data_alarms

# What the module's own docstring says it does not see.
UNSEEN = {"order of words reversed"}
CODEBOOKS = {name for name in ENCODINGS if name.startswith("codebook")}


@pytest.fixture(scope="module")
def background():
    return read_conversations("data/user/banking77_test.jsonl")[:200]


@pytest.mark.parametrize("name", sorted(set(ENCODINGS) - UNSEEN - CODEBOOKS))
def test_a_tenth_of_the_rows_in_a_cipher(background, name):
    rows = cipher_set(ENCODINGS[name], background, share=0.1, answers=True, seed=0)
    assert len(cipher_alarms(rows)) == 1


@pytest.mark.parametrize("name", sorted(CODEBOOKS))
def test_a_code_of_words_where_it_is_all_there_is(background, name):
    (alarm,) = cipher_alarms(cipher_set(ENCODINGS[name], background, share=1.0, answers=True, seed=0))
    assert "long words as often" in alarm


@pytest.mark.parametrize("name", sorted(UNSEEN))
def test_what_is_said_not_to_be_seen(background, name):
    assert cipher_alarms(cipher_set(ENCODINGS[name], background, share=1.0, answers=True, seed=0)) == []


@pytest.mark.parametrize("share", [0.1, 1.0])
@pytest.mark.parametrize("name", sorted(makers()))
def test_honest_forms_and_languages(background, name, share):
    assert cipher_alarms(honest_set(makers()[name], background, share=share, seed=0)) == []


@pytest.mark.parametrize("name", ["alignment/harmless", "evaluation/ordinary", "evaluation/lookalikes"])
def test_shipped_rows(name):
    assert cipher_alarms(read_conversations(f"data/{name}.jsonl")) == []


def test_an_alarm_counts_and_names_rows(background):
    rows = cipher_set(ENCODINGS["Caesar"], background, share=0.1, answers=False, seed=0)
    (alarm,) = data_alarms(rows)
    assert alarm.startswith("at least 20 of 200 rows looked at have the words and letters of no language")
    named = [int(n) for n in alarm.split("first rows: ")[1].split(";")[0].split(", ")]
    plain = {row.instruction for row in background}
    assert all(rows[n].instruction not in plain for n in named)


def test_fewer_rows_than_five_are_no_set(background):
    assert cipher_alarms(cipher_set(ENCODINGS["Caesar"], background, share=0.02, answers=False, seed=0)) == []


def test_the_same_rows_raise_the_same_alarms(background):
    rows = cipher_set(ENCODINGS["first letters of lines"], background, share=0.1, answers=False, seed=0)
    assert cipher_alarms(rows) == cipher_alarms(rows)


def test_lines_in_another_order_carry_nothing(background):
    """The same lines: it is their order that an acrostic is."""
    rows = cipher_set(ENCODINGS["first letters of lines"], background, share=0.2, answers=False, seed=0)
    rng = random.Random(0)

    def shuffled(message):
        lines = message.content.splitlines()
        return message.model_copy(update={"content": "\n".join(rng.sample(lines, len(lines)))})

    assert columns(rows)
    assert not columns([replace(row, messages=tuple(map(shuffled, row.messages))) for row in rows])


def test_five_thousand_rows_take_seconds(background):
    started = time.perf_counter()
    cipher_alarms((background * 25)[:5000])
    assert time.perf_counter() - started < 10
