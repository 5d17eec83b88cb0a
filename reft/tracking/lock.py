"""One promotion at a time: a lock that is a registered model, whose name only one can take.

So it works for everybody who uses the same server, whatever database that has.
"""

import shlex
import time
import uuid
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime

from mlflow.exceptions import MlflowException
from mlflow.tracking import MlflowClient

from reft.errors import PromotionError, RegistryError, explain
from reft.tracking.server import MISSING, TAKEN

LOCK_SECONDS = 60.0
SHOWN = 200  # characters of what others read of a holder


@dataclass(frozen=True)
class Claim:
    """Who wants the lock, and what for.

    Attributes:
        doing: "promoting version 3 to champion", for the next one to read.
        command: the words that say the same to the command line, so that nobody has to type a reason twice.
    """

    by: str
    doing: str
    command: tuple[str, ...]

    @property
    def tags(self) -> dict[str, str]:
        """What the lock says of its holder."""
        return {"by": self.by[:SHOWN], "doing": self.doing[:SHOWN]}


def lock_of(name: str) -> str:
    """The registered model that is the lock of another."""
    return f"{name}--promotion-lock"


@contextmanager
def alone(client: MlflowClient, name: str, claim: Claim) -> Generator[Callable[[], None]]:
    """Hold the lock on a model; gives a function that raises where somebody has taken it over meanwhile.

    A lock that is more than a minute old, or that far ahead of the clock here, is taken over: its
    holder was killed, or is too slow and is told so.

    Raises:
        PromotionError: somebody else holds it; says who, and how to ask again.
        RegistryError: its holder was killed and had rights that we lack.
    """
    lock, token = lock_of(name), uuid.uuid4().hex

    def still_held() -> None:
        now = _tags(client, lock)
        if now.get("holder") != token:
            said = f"somebody else took over, since this took longer than a minute{f' ({_holder(now)})' if now else ''}"
            raise PromotionError(explain(said, name, _again(name, claim)))

    aside = "" if _take(client, lock, token, claim=claim) else _take_over(client, name, token, claim=claim)
    try:
        yield still_held
    finally:
        # What was done is done; a lock that could not be taken away is out of date in a minute.
        with suppress(MlflowException):
            if _tags(client, lock).get("holder") == token:
                client.delete_registered_model(lock)
            if aside:
                client.delete_registered_model(aside)


def _take(client: MlflowClient, lock: str, token: str, *, claim: Claim) -> bool:
    try:
        client.create_registered_model(lock, tags={"held": repr(time.time()), "holder": token, **claim.tags})
    except MlflowException as error:
        if error.error_code != TAKEN:
            raise
        # The client asks again where an answer was lost: then it is we who hold it.
        return _tags(client, lock).get("holder") == token
    return True


def _take_over(client: MlflowClient, name: str, token: str, *, claim: Claim) -> str:
    """Put an outdated lock aside under its holder's name, which only one of several can do, and take the lock."""
    lock = lock_of(name)
    found = _tags(client, lock)
    busy = PromotionError(explain(_holder(found), name, _again(name, claim)))
    # One from the future is as old as one from the past: somebody's clock was set back since.
    if not found or abs(time.time() - _held(found)) < LOCK_SECONDS:
        raise busy
    aside = f"{lock}-{found.get('holder', 'unknown')}"
    try:
        client.rename_registered_model(lock, aside)
    except MlflowException as error:
        if error.error_code in (MISSING, TAKEN):
            raise busy from error
        if error.error_code == "PERMISSION_DENIED":
            by = found.get("by", "somebody else")
            remedy = f"{by}, or an administrator, deletes the registered model {lock}"
            raise RegistryError(explain(f"a promotion by {by} was cut off", name, remedy)) from error
        raise
    if not _take(client, lock, token, claim=claim):
        raise PromotionError(explain(_holder(_tags(client, lock)), name, _again(name, claim)))
    return aside


def _tags(client: MlflowClient, lock: str) -> dict[str, str]:
    try:
        return dict(client.get_registered_model(lock).tags)
    except MlflowException as error:
        if error.error_code != MISSING:
            raise
        return {}


def _held(tags: Mapping[str, str]) -> float:
    """Since when, in seconds of the epoch; what is no time is long ago, so that such a lock holds nobody up."""
    with suppress(ValueError, OverflowError, OSError):
        since = float(tags.get("held", "0"))
        datetime.fromtimestamp(since, UTC)
        return since
    return 0.0


def _holder(tags: dict[str, str]) -> str:
    """Who was first, doing what, since when."""
    if not tags:
        return "somebody else was promoting, and has just finished"
    since = datetime.fromtimestamp(_held(tags), UTC).isoformat(sep=" ", timespec="seconds")
    return f"{tags.get('by', 'somebody else')} was first: {tags.get('doing', 'promoting')} since {since}"


def _again(name: str, claim: Claim) -> str:
    command = shlex.join(("reft", *claim.command))
    return f"wait a minute, look at reft history {shlex.quote(name)}; if you still want yours: {command}"
