"""Work that is prepared in a thread of its own while what came before is worked on."""

import queue
import threading
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from typing import TypeVar

T = TypeVar("T")
LOOK_SECONDS = 0.1


@contextmanager
def ahead(items: Iterator[T], most: int = 2) -> Generator[Iterator[T]]:
    """The items in order, so many of them made before they are asked for; an error in making one is raised here.

    A thread, not a process: what it hands over is not copied, and PyTorch leaves Python to others while it computes.
    """
    made: queue.Queue[tuple[T | None, BaseException | None, bool]] = queue.Queue(most)
    over = threading.Event()

    def put(item: T | None, error: BaseException | None = None, last: bool = False) -> bool:
        while not over.is_set():
            try:
                made.put((item, error, last), timeout=LOOK_SECONDS)
                return True
            except queue.Full:
                continue
        return False

    def make() -> None:
        try:
            for item in items:
                if not put(item):
                    return
            put(None, last=True)
        except BaseException as error:
            put(None, error)

    def given() -> Iterator[T]:
        while True:
            item, error, last = made.get()
            if error:
                raise error
            if last:
                return
            yield item  # ty: ignore[invalid-yield] (None stands only beside an error or the end)

    thread = threading.Thread(target=make, daemon=True)
    thread.start()
    try:
        yield given()
    finally:
        over.set()
        thread.join()
