"""Time as the protocol counts it."""

import time

DAY = 86_400  # seconds


def now() -> int:
    """Whole seconds since 1970."""
    return int(time.time())


def now_ms() -> int:
    """Thousandths of a second since 1970."""
    return int(time.time() * 1000)
