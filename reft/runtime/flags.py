"""A flag that a signal's handler may set."""

from contextlib import suppress
from queue import Empty, SimpleQueue


class Flag:
    """What `threading.Event` is, without a lock.

    A handler of signals runs in the main thread, between any two of its instructions. Where that thread, or the
    handler of a signal just before, is within an event's own lock, setting the event waits for itself for ever; the
    queue here is one whose `put` may interrupt itself.
    """

    def __init__(self) -> None:
        self._set = False
        self._woken: SimpleQueue[None] = SimpleQueue()

    def set(self) -> None:
        """Raise it, for good; whoever waits goes on."""
        self._set = True
        self._woken.put(None)

    def is_set(self) -> bool:
        """Whether it was raised."""
        return self._set

    def wait(self, timeout: float | None = None) -> bool:
        """Wait until it is raised, `timeout` seconds at most; whether it is."""
        if not self._set:
            with suppress(Empty):
                self._woken.get(timeout=timeout)
                self._woken.put(None)  # for the next one who waits
        return self._set
