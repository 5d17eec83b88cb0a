"""Errors of ours."""

from reft import errors
from reft.errors import ReftError


def test_every_error_is_one_of_ours_and_a_built_in():
    kinds = [
        e for e in vars(errors).values() if isinstance(e, type) and issubclass(e, ReftError) and e is not ReftError
    ]
    assert all(issubclass(kind, (ValueError, RuntimeError, OSError)) for kind in kinds)
    assert len(kinds) == 10
