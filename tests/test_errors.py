"""Errors of ours."""

from reft import errors
from reft.errors import DataFormatError, ReftError, explain, parts


def test_every_error_is_one_of_ours_and_a_built_in():
    kinds = [
        e for e in vars(errors).values() if isinstance(e, type) and issubclass(e, ReftError) and e is not ReftError
    ]
    assert all(issubclass(kind, (ValueError, RuntimeError, OSError)) for kind in kinds)
    assert len(kinds) == 10


def test_a_message_comes_apart_as_it_was_put_together():
    assert parts(DataFormatError(explain("two\nlines", "a.jsonl, line 3", "mend it"))) == (
        "two\nlines", "a.jsonl, line 3", "mend it",
    )  # fmt: skip
    assert parts(ReftError("of another kind")) == ("of another kind", "", "")
