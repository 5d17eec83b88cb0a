"""One promotion at a time: a lock that is a registered model, whose name only one can take.

So it works for everybody who uses the same server, whatever database that has.
"""

import time
import uuid
from collections.abc import Callable, Generator
from contextlib import contextmanager, suppress

from mlflow.exceptions import MlflowException
from mlflow.tracking import MlflowClient

from reft.errors import PromotionError, RegistryError, explain
from reft.tracking.server import MISSING, TAKEN

LOCK_SECONDS = 60.0


@contextmanager
def alone(client: MlflowClient, name: str) -> Generator[Callable[[], None]]:
    """Hold the lock on a model; gives a function that raises where somebody has taken it over meanwhile.

    A lock that is more than a minute old, or that far ahead of the clock here, is taken over: its
    holder was killed, or is too slow and is told so.

    Raises:
        PromotionError: somebody else holds it.
        RegistryError: its holder was killed and had rights that we lack.
    """
    lock, token = f"{name}--promotion-lock", uuid.uuid4().hex

    def still_held() -> None:
        if _tags(client, lock).get("holder") != token:
            raise _busy(name, "somebody else took over, since this took longer than a minute")

    aside = "" if _take(client, lock, token) else _take_over(client, name, lock, token=token)
    try:
        yield still_held
    finally:
        # What was done is done; a lock that could not be taken away is out of date in a minute.
        with suppress(MlflowException):
            if _tags(client, lock).get("holder") == token:
                client.delete_registered_model(lock)
            if aside:
                client.delete_registered_model(aside)


def _take(client: MlflowClient, lock: str, token: str) -> bool:
    try:
        client.create_registered_model(lock, tags={"held": repr(time.time()), "holder": token})
    except MlflowException as error:
        if error.error_code != TAKEN:
            raise
        # The client asks again where an answer was lost: then it is we who hold it.
        return _tags(client, lock).get("holder") == token
    return True


def _take_over(client: MlflowClient, name: str, lock: str, *, token: str) -> str:
    """Put an outdated lock aside under its holder's name, which only one of several can do, and take the lock."""
    found = _tags(client, lock)
    # One from the future is as old as one from the past: somebody's clock was set back since.
    if not found or abs(time.time() - float(found.get("held", "0"))) < LOCK_SECONDS:
        raise _busy(name, "somebody else is promoting")
    aside = f"{lock}-{found.get('holder', 'unknown')}"
    try:
        client.rename_registered_model(lock, aside)
    except MlflowException as error:
        if error.error_code in (MISSING, TAKEN):
            raise _busy(name, "somebody else is promoting") from error
        if error.error_code == "PERMISSION_DENIED":
            remedy = f"whoever it was, or an administrator, deletes the registered model {lock}"
            raise RegistryError(explain("a promotion by somebody else was cut off", name, remedy)) from error
        raise
    if not _take(client, lock, token):
        raise _busy(name, "somebody else is promoting")
    return aside


def _tags(client: MlflowClient, lock: str) -> dict[str, str]:
    try:
        return dict(client.get_registered_model(lock).tags)
    except MlflowException as error:
        if error.error_code != MISSING:
            raise
        return {}


def _busy(name: str, what: str) -> PromotionError:
    return PromotionError(explain(what, name, "wait a minute and look at reft history"))
