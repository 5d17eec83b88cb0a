"""The audit log: who let which version serve and why, each entry holding the digest of the one before.

An entry that is changed, taken out or put in later breaks the chain from there on, and `verify` says where.
"""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass

from reft.errors import StorageError, explain

BEGINNING = "0" * 64


@dataclass(frozen=True, kw_only=True)
class Entry:
    """One decision.

    Attributes:
        action: "promote" or "rollback".
        alias: which alias moved, and `version` where to; `before` where from, "" where it stood nowhere.
        passed: whether the gate had let it through; `forced` whether somebody overruled it.
        files: digest of the version's files, verified beforehand.
        previous: digest of the entry before.
    """

    number: int
    time: str
    action: str
    alias: str
    version: str
    before: str
    by: str
    reason: str
    passed: bool
    forced: bool
    files: str
    previous: str

    @property
    def digest(self) -> str:
        """SHA-256 of the whole entry."""
        return hashlib.sha256(self.line.encode()).hexdigest()

    @property
    def line(self) -> str:
        """As it is stored."""
        return json.dumps(asdict(self), sort_keys=True, ensure_ascii=True)


def verify(lines: Sequence[str], where: str) -> list[Entry]:
    """The entries of a log, oldest first.

    Raises:
        StorageError: the chain is broken; the message names the entry.
    """
    entries: list[Entry] = []
    for number, line in enumerate(lines, start=1):
        try:
            entry = Entry(**json.loads(line))
        except (ValueError, TypeError) as error:
            raise tampered(number, where, "it cannot be read") from error
        if entry.number != number or entry.previous != (entries[-1].digest if entries else BEGINNING):
            raise tampered(number, where, "it does not follow from the one before")
        entries.append(entry)
    return entries


def tampered(number: int, where: str, why: str) -> StorageError:
    """The error that names the first entry that cannot be believed."""
    remedy = "somebody changed the log: compare it with a backup of the registry's database before promoting anything"
    return StorageError(explain(f"entry {number} of the audit log was tampered with ({why})", where, remedy))
