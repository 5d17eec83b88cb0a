"""Tiers of tests: `make test-fast` runs those that start no process and train nothing, `make test` nearly all, and
`make test-night` the rest, which kills and starts again for minutes.

A test that starts a process or takes an optimizer's step without being marked slow fails and says so: the fast tier
stays fast by itself.
"""

import multiprocessing.process
import subprocess
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

# What libraries ask the system by themselves, in milliseconds.
ASKED_BY_LIBRARIES = frozenset(
    {"git", "ldconfig", "gcc", "cc", "ld", "objdump", "uname", "lscpu", "nvidia-smi", "fc-list"}
)
# Files that take minutes: begun first, so that none of them is left for the end, when the others have nothing to do.
LONGEST = (
    "pipelines/test_pipeline.py", "service/test_whole_jobs.py", "finetuning/test_night.py", "test_workflows.py",
    "retraining/test_retraining.py", "pipelines/test_night.py",
)  # fmt: skip
REMEDY = "mark it with @pytest.mark.slow, or test a part that needs none"


class NotFast(AssertionError):
    """A test of the fast tier did what belongs to the slow one."""


@contextmanager
def fast_tier() -> Generator[None]:
    """Refuse processes and training within the block."""
    from torch.optim.optimizer import register_optimizer_step_pre_hook

    def no_process(started: Any, args: Any, *rest: Any, **options: Any) -> None:
        program = args if isinstance(args, str | Path) else args[0]
        if Path(str(program).split()[0]).name not in ASKED_BY_LIBRARIES:
            raise NotFast(f"it starts a process ({args}): {REMEDY}")
        start(started, args, *rest, **options)

    def no_child(_process: Any) -> None:
        raise NotFast(f"it starts a process: {REMEDY}")

    def no_training(*_: Any) -> None:
        raise NotFast(f"it trains: {REMEDY}")

    start = subprocess.Popen.__init__
    hook = register_optimizer_step_pre_hook(no_training)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(subprocess.Popen, "__init__", no_process)
        patch.setattr(multiprocessing.process.BaseProcess, "start", no_child)
        try:
            yield
        finally:
            hook.remove()


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The longest files first, then those with slow tests; the fast ones fill what is left of the time."""
    slow = {item.path for item in items if item.get_closest_marker("slow")}

    def place(item: pytest.Item) -> int:
        name = item.path.relative_to(item.config.rootpath / "tests").as_posix()
        return LONGEST.index(name) if name in LONGEST else len(LONGEST) + (item.path not in slow)

    items.sort(key=place)  # stable: what belongs together stays so


@pytest.hookimpl(wrapper=True)
def pytest_runtest_setup(item: pytest.Item) -> Generator[None, Any, Any]:
    """Fixtures belong to their test's tier."""
    return (yield from _guarded(item))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Generator[None, Any, Any]:
    """The test itself."""
    return (yield from _guarded(item))


def _guarded(item: pytest.Item) -> Generator[None, Any, Any]:
    if item.get_closest_marker("slow"):
        return (yield)
    with fast_tier():
        return (yield)
