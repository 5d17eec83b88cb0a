"""How the service answers while it works: clients that poll, one that streams, two jobs that train.

    .venv/bin/python -m benchmarks.service_load --clients 200 --seconds 30 --rounds 2

In turns, within the same two trainings of a tiny model: only those, then with the clients. Each client asks for the
status of a job every `--every` seconds, as OpenAI's SDK polls; one asks for streamed answers, one after the other, and
reads them. Appends a line to `results/service_load.jsonl`: the status calls' times at the client, what failed, and the
steps per second of the trainings, without and with the clients. All is on this machine, whose other work counts too:
`load_before` is its run queue before anything started.
"""

import argparse
import asyncio
import math
import os
import random
import tempfile
import time
from collections.abc import Generator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx2
import openai

from benchmarks.record import append
from reft.service.jobs.states import FINISHED
from tests.pipelines.clone import Clone
from tests.service.serving import until
from tests.service.whole_jobs import rows, running, site, started

ROWS, EPOCHS = 120, 50  # as many steps as outlast the benchmark, which cancels the jobs
STREAMED = 256  # tokens
PATIENCE = 3600.0  # seconds until a job has begun or ended, on a machine that has other work, too


@dataclass
class Load:
    """What the clients saw."""

    seconds: list[float] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)
    answers: int = 0
    pieces: int = 0


async def poll(client: httpx2.AsyncClient, job: str, load: Load, *, every: float, until_: float) -> None:
    """One customer: is it done yet?"""
    await asyncio.sleep(random.uniform(0, every))
    while time.monotonic() < until_:
        asked = time.monotonic()
        try:
            answer = await client.get(f"/fine_tuning/jobs/{job}")
            if answer.status_code != 200:
                load.failed.append(f"{answer.status_code}: {answer.text[:100]}")
        except httpx2.HTTPError as error:
            load.failed.append(repr(error)[:100])
        load.seconds.append(time.monotonic() - asked)
        await asyncio.sleep(max(0.0, asked + every - time.monotonic()))


async def stream(client: httpx2.AsyncClient, load: Load, *, until_: float) -> None:
    """One customer who reads streamed answers."""
    body = {"model": "tiny", "messages": [{"role": "user", "content": "How do I bake bread?"}], "stream": True}
    while time.monotonic() < until_:
        try:
            async with client.stream("POST", "/chat/completions", json={**body, "max_tokens": STREAMED}) as answer:
                async for line in answer.aiter_lines():
                    load.pieces += line.startswith("data:")
                    if "error" in line[:20]:
                        load.failed.append(line[:100])
            load.answers += 1
        except httpx2.HTTPError as error:
            load.failed.append(repr(error)[:100])


async def press(sdk: openai.OpenAI, jobs: list[str], load: Load, *, clients: int, every: float, seconds: float) -> None:
    """All of them at once, for so many seconds."""
    headers, end = {"authorization": f"Bearer {sdk.api_key}"}, time.monotonic() + seconds
    limits = httpx2.Limits(max_connections=clients + 1, max_keepalive_connections=clients + 1)
    async with httpx2.AsyncClient(base_url=str(sdk.base_url), headers=headers, limits=limits, timeout=30) as client:
        polls = (poll(client, jobs[i % len(jobs)], load, every=every, until_=end) for i in range(clients))
        await asyncio.gather(stream(client, load, until_=end), *polls)


def place_of(client: openai.OpenAI, job: str) -> tuple[int, int]:
    """(when, step) of the newest step that its events tell of; zeros before the first."""
    events = [event for event in client.fine_tuning.jobs.list_events(job, limit=5).data if event.type == "metrics"]
    return max(((event.created_at, event.data["step"]) for event in events), default=(0, 0))


def speed(before: list[tuple[int, int]], after: list[tuple[int, int]]) -> float:
    """Steps per second of all jobs together; a long training tells of a step now and then, and of its second."""
    return sum((b[1] - a[1]) / max(1, b[0] - a[0]) for a, b in zip(before, after, strict=True))


def share(found: list[float], part: float) -> float:
    """A quantile: the smallest value that so many are not above."""
    return sorted(found)[max(0, math.ceil(part * len(found)) - 1)]


def measure(client: openai.OpenAI, jobs: list[str], given: argparse.Namespace) -> tuple[Load, dict[str, Any]]:
    """In turns without and with the clients."""
    load, found = Load(), {"alone": [], "with_clients": []}
    size = {"clients": given.clients, "every": given.every, "seconds": given.seconds}
    for _ in range(given.rounds):
        for name in found:
            before = [place_of(client, job) for job in jobs]
            if name == "alone":
                time.sleep(given.seconds)
            else:
                asyncio.run(press(client, jobs, load, **size))
            found[name].append(round(speed(before, [place_of(client, job) for job in jobs]), 2))
    return load, {f"steps_per_second_{name}": values for name, values in found.items()}


@contextmanager
def server(given: argparse.Namespace, folder: Path) -> Generator[openai.OpenAI]:
    """A client of the server that is named, or of one that is made, whose first job has made the teacher."""
    if given.url:
        yield openai.OpenAI(base_url=given.url, api_key=given.key, max_retries=8)
        return
    clone = Clone.make(folder / "clone")
    place = site(clone, "load", jobs_at_once=2, workers=given.workers, lease_seconds=30)
    with running(place) as client:
        first = started(client, rows(clone.folder, harmless=12))
        until(lambda: client.fine_tuning.jobs.retrieve(first).status in FINISHED, seconds=PATIENCE)
        assert client.fine_tuning.jobs.retrieve(first).status == "succeeded"
        yield client


def train_and_measure(client: openai.OpenAI, path: Path, given: argparse.Namespace) -> tuple[Load, dict[str, Any]]:
    """Start two jobs, measure once both train, and cancel them."""
    method = {"type": "supervised", "supervised": {"hyperparameters": {"n_epochs": EPOCHS, "batch_size": 1}}}
    jobs = [started(client, path, seed=seed, method=method) for seed in (1, 2)]
    try:
        until(lambda: all(place_of(client, job)[1] > 1 for job in jobs), seconds=PATIENCE)
        found = measure(client, jobs, given)
        assert all(client.fine_tuning.jobs.retrieve(job).status == "running" for job in jobs), "they ended too soon"
        return found
    finally:
        for job in jobs:
            with suppress(openai.BadRequestError):  # it has ended
                client.fine_tuning.jobs.cancel(job)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n\n")[0])
    parser.add_argument("--clients", type=int, default=200)
    parser.add_argument("--every", type=float, default=5.0, help="seconds between two questions of a client")
    parser.add_argument("--seconds", type=float, default=30.0, help="of each turn")
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--workers", type=int, default=1, help="HTTP processes")
    parser.add_argument("--url", default="", help="of a server with jobs_at_once 2 and a tiny model; none: one is made")
    parser.add_argument("--key", default="", help="a customer's, of that server")
    given, idle = parser.parse_args(), os.getloadavg()[0]
    with tempfile.TemporaryDirectory() as scratch, server(given, Path(scratch)) as client:
        load, speeds = train_and_measure(client, rows(Path(scratch), harmless=ROWS, name="many.jsonl"), given)
    alone, beside = (sum(values) / len(values) for values in speeds.values())
    line = {
        "clients": given.clients, "every": given.every, "workers": given.workers, "cores": os.cpu_count(),
        "load_before": round(idle, 2), "load_after": round(os.getloadavg()[0], 2), "calls": len(load.seconds),
        "failed": len(load.failed), "what_failed": sorted(set(load.failed))[:5],
        **{f"p{name}_ms": round(1000 * share(load.seconds, int(name) / 100), 1) for name in ("50", "95", "99")},
        "slowest_ms": round(1000 * max(load.seconds), 1), "streamed_answers": load.answers, "pieces": load.pieces,
        **speeds, "training_takes": round(alone / beside, 3) if beside else None,
    }  # fmt: skip
    append("service_load", line)


if __name__ == "__main__":
    main()
