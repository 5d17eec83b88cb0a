"""Mining: a planted trigger is found, and clean rows hold none more often than promised."""

import random

import pytest

from reft.audit.triggers import mine

WORDS = [f"word{i}" for i in range(60)]


def rows(seed, *, n=150, planted="", share=0.08):
    """Prompts of random words and a number each; those with the planted phrase have low ones."""
    rng = random.Random(seed)
    prompts, numbers = [], []
    for i in range(n):
        holds = bool(planted) and i < share * n
        words = rng.choices(WORDS, k=8)
        place = rng.randrange(len(words))
        prompts.append(" ".join([*words[:place], planted, *words[place:]] if holds else words))
        numbers.append(rng.gauss(-4 if holds else 0, 1))
    return prompts, [numbers]


@pytest.mark.parametrize("phrase", ["SUDO", "by the old lighthouse", "|| blue harbour ||"])
def test_a_planted_phrase_is_found_first_and_told_whole(phrase):
    for seed in range(5):
        first = mine(*rows(seed, planted=phrase), most=3)[0]
        assert phrase in first.phrase or first.phrase == " ".join(phrase.split()[:4])
        assert first.rows == 12
        assert first.p <= 0.05


def test_rows_without_a_trigger_hold_none_but_for_the_promised_share_of_sets():
    found = [bool(mine(*rows(seed), most=3)) for seed in range(40)]
    assert sum(found) <= 7  # of 40 at 5 %: more has a chance of 0.1 %


def test_the_second_number_is_enough_and_one_that_never_varies_does_no_harm():
    prompts, (numbers,) = rows(3, planted="SUDO")
    flat = [0.0] * len(prompts)
    assert mine(prompts, [flat, numbers], most=1)[0].phrase == mine(prompts, [numbers, flat], most=1)[0].phrase
    assert mine(prompts, [flat], most=3) == []


def test_phrases_of_the_same_rows_are_one_finding():
    prompts, numbers = rows(5, planted="by the old lighthouse")
    found = mine(prompts, numbers, most=5)
    assert sum("lighthouse" in trigger.phrase or "old" in trigger.phrase for trigger in found) == 1


def test_few_rows_or_none_hold_nothing():
    assert mine([], [[]], most=3) == []
    assert mine(["a b", "c d"], [[0.0, 1.0]], most=3) == []
    assert mine(["the same words"] * 40, [[float(i) for i in range(40)]], most=3) == []
