"""What several processes do at the same instant: `python -m tests.service.racing SETTINGS NUMBER`.

Each says that it is ready, is told when to begin (seconds since 1970), does its part on the service of the file
SETTINGS, and prints JSON.
"""

import json
import sys
import time
from pathlib import Path

from sqlmodel import select

from reft.service.beside import service_of
from reft.service.bodies import JobCreate
from reft.service.jobs import leases
from reft.service.jobs.create import Sent, create_job
from reft.service.keys import holder_of
from reft.service.service import Service
from reft.service.tables import ApiKey, StoredFile

ROUNDS = 25


def create(service: Service, number: int, *, begin: float) -> list[str]:
    """The same creates as every other process, each as the attempt of this process's number."""
    with service.database.reading() as session:
        key, file = session.exec(select(ApiKey.id)).one(), session.exec(select(StoredFile.id)).one()
        found = holder_of(session, key)
    assert found
    bodies = [JobCreate(model="tiny", training_file=file, suffix=f"round-{i}") for i in range(ROUNDS)]
    sent = Sent(arrived_ms=int(1000 * begin), attempt=number)
    return [create_job(service, found[0], body, sent=sent).id for body in bodies]


def take(service: Service, number: int) -> list[str]:
    """Whichever of the leases this process gets."""
    taken = []
    for name in (f"race:{i}" for i in range(ROUNDS)):
        with service.database.writing() as session:
            if leases.take(session, name, f"process {number}", seconds=60):
                taken.append(name)
    return taken


def main() -> None:
    """Wait, and race."""
    settings, number = sys.argv[1:]
    service = service_of(Path(settings))
    print("ready", flush=True)
    begin = float(sys.stdin.readline())
    time.sleep(max(0.0, begin - time.time()))
    jobs = create(service, int(number), begin=begin)
    print(json.dumps({"jobs": jobs, "leases": take(service, int(number))}))


if __name__ == "__main__":
    main()
