import threading
import time

import pytest

from reft.runtime.ahead import ahead


def test_items_come_in_order_and_are_made_while_others_are_worked_on():
    made, waiting = [], threading.Event()

    def items():
        for number in range(5):
            made.append(number)
            yield number
        waiting.set()

    with ahead(items(), most=2) as given:
        first = next(given)
        deadline = time.monotonic() + 10
        while len(made) < 4 and time.monotonic() < deadline:  # one taken, two waiting, one in hand
            time.sleep(0.01)
        assert made == [0, 1, 2, 3]
        assert [first, *given] == [0, 1, 2, 3, 4]
    assert waiting.is_set()


def test_an_error_in_making_one_is_raised_where_it_is_asked_for():
    def items():
        yield 1
        raise ValueError("broken")

    with ahead(items()) as given:
        assert next(given) == 1
        with pytest.raises(ValueError, match="broken"):
            next(given)


def test_whoever_leaves_early_leaves_no_thread_behind():
    before = threading.active_count()
    with ahead(iter(range(1000))) as given:
        assert next(given) == 0
        assert threading.active_count() == before + 1
    assert threading.active_count() == before
