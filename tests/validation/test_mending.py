"""Lines that are mended where that needs no guess, and those that are left alone."""

import sys
import time

import pytest

from reft.validation.mending import mended


@pytest.mark.parametrize(
    ("line", "expected", "done"),
    [
        ('{"prompt": "a, ]", "completion": "b"}', None, []),
        ('\ufeff{"a": 1}\r', '{"a": 1}', ["byte order mark removed", "line end removed"]),
        ('{"a": [1, 2,], }', '{"a": [1, 2] }', ["trailing comma removed"]),
        ('{"a": ",}"},', '{"a": ",}"}', ["trailing comma removed"]),
        (
            '{"messages": [{"role": "Human", "content": "q\\u0000"}, {"role": "bot", "content": "a"}]}',
            '{"messages": [{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}]}',
            ["role 'Human' is 'user'", "role 'bot' is 'assistant'", "1 control characters removed"],
        ),
        ("not json,", None, []),
        ('{"a": 1, "a": 2,}', None, []),
        ('{"a": "one, ] \\\\", "b": [1,], }', '{"a": "one, ] \\\\", "b": [1] }', ["trailing comma removed"]),
        ('{"a": [1,], "b": "cut, ]', None, []),
        ('{"a": [1,], "b": "cut\\', None, []),
    ],
)
def test_mending_without_guessing(line, expected, done):
    assert mended(line) == (line if expected is None else expected, done)


def test_a_row_cut_off_within_a_text_of_many_quotes_takes_no_time():
    line = '{"prompt": "a", "completion": "' + 'say \\"hello there\\" ' * 7000
    started = time.monotonic()
    assert mended(line) == (line, [])
    assert time.monotonic() - started < 5  # seconds; where every quote is tried as a beginning, more than a minute


def test_a_row_may_have_200_levels_whatever_the_interpreters_stack():
    def line(levels):
        return '{"prompt": "a\\u0000", "completion": "[\\"[", "x": ' + "[" * levels + "]" * levels + "}"

    def verdicts():
        return [mended(line(levels))[1] for levels in (199, 200, 900)]

    expected, before = [["1 control characters removed"], [], []], sys.getrecursionlimit()
    assert verdicts() == expected
    try:
        sys.setrecursionlimit(2 * before)
        assert verdicts() == expected
    finally:
        sys.setrecursionlimit(before)
