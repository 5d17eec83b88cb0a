"""What a pipeline says, read for whoever waits: how far it is, and why it ended."""

import re
from dataclasses import dataclass

from reft.service.jobs import states

BEGINS = re.compile(r"^\s*(\w+) begins, ", re.MULTILINE)
LEFT = re.compile(r"(\d+):(\d\d) left of the run")
LAST_WORDS = re.compile(r"^error: (?P<what>.*?)(?:\n  where: .*?)?(?:\n  remedy: (?P<remedy>.*?))?\n*\Z", re.M | re.S)
# Of a message that was made for who runs the pipeline: places on this machine, which are nobody's business.
PLACE = re.compile(r"(?:[A-Za-z][A-Za-z0-9+.-]*://|~?/)[^\s'\",;:)]+")
SPOKEN = 600  # characters of a message
STAGES = {"finetuning": states.TRAINING, "evaluation": states.JUDGING}
# What it says when a process of its own was killed: started again it goes on from its checkpoint.
DIED = "a training process died"


@dataclass(frozen=True)
class Failure:
    """Why a run ended."""

    code: str
    message: str


def stage_of(said: str) -> str | None:
    """The stage that it is in, as jobs call it."""
    begun = [STAGES[name] for name in BEGINS.findall(said) if name in STAGES]
    return begun[-1] if begun else None


def seconds_left(said: str) -> int | None:
    """What it says that the run still takes."""
    found = LEFT.findall(said[-4000:])
    return 60 * int(found[-1][0]) + int(found[-1][1]) if found else None


def failure_of(said: str, *, trained: bool) -> Failure:
    """The last words of a run that failed; those that were not meant for its user stay in the operator's log."""
    found = LAST_WORDS.search(said.rstrip() + "\n")
    if found is None or "Traceback" in found["what"]:
        return Failure("server_error", "The pipeline failed; the operator finds the reason in its log.")
    message = found["what"].strip()
    if found["remedy"]:
        message += f"; remedy: {found['remedy'].strip()}"
    plain = PLACE.sub("...", " ".join(message.split()))
    # What stops a run before its rows are judged is the file's fault only while the file is read.
    begun = BEGINS.findall(said)
    early = "invalid_training_file" if begun[-1:] == ["validation"] else "screening_failed"
    return Failure("training_failed" if trained else early, plain[:SPOKEN])


def was_killed(status: int, said: str) -> bool:
    """Whether something ended it from outside, so that it is worth another start."""
    return status < 0 or status in (137, 143) or DIED in said[-4000:]


def is_unexplained(said: str) -> bool:
    """Whether it failed by no fault that it could explain, so that it may be worth another start.

    What runs share on a machine, as ZenML's configuration and its database, does not always bear two at once; what the
    run has finished is not done again.
    """
    return failure_of(said, trained=False).code == "server_error"
