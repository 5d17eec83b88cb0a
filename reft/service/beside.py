"""A process beside the server's: its settings come as a file, its work from the database, until it is stopped."""

import logging
from collections.abc import Callable
from pathlib import Path

from sqlalchemy.exc import IntegrityError

from reft.runtime.flags import Flag
from reft.service.database import AWAY
from reft.service.service import Service, open_service
from reft.service.settings import ServiceSettings

LOG = logging.getLogger(__name__)


def service_of(file: Path) -> Service:
    """The service whose settings `reft serve` has left in this file."""
    # Whoever starts `reft serve` reads its words among those of all that runs beside it.
    logging.getLogger("alembic").setLevel(logging.WARNING)
    return open_service(ServiceSettings.model_validate_json(file.read_text()))


def keep_looking(look: Callable[[], bool], stop: Flag, *, pause: float) -> None:
    """Look at the database until told to stop, again at once where there was something to do.

    Args:
        look: does what is to be done; whether there may be more.
        pause: seconds before the next look, where there was nothing or the database did not answer.
    """
    while not stop.is_set():
        try:
            if look():
                continue
        except (*AWAY, IntegrityError):
            LOG.exception("the database does not answer; tried again")
        stop.wait(pause)
