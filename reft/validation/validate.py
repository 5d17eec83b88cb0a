"""Step 3: every row of the user's file is either usable or in quarantine with a reason."""

import hashlib
import json
import re
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pandas as pd
from transformers import PreTrainedTokenizerBase

from reft.artifacts import read_json, write_json, write_text
from reft.config import ValidationSettings
from reft.conversations.reading import BadRow, read_rows
from reft.conversations.schema import Conversation
from reft.conversations.storage import load_rows, save_rows
from reft.conversations.tokenization import encode, special_tokens_in
from reft.errors import DataValidationError, explain
from reft.validation.expectations import suite_results

# First letters of the roles: a system turn, then users and answers in turn; between a call and the answer, tools speak.
TURNS = re.compile("s?(ua(t+a)*)+")


@dataclass(frozen=True)
class ValidatedData:
    """The usable rows and the quarantined ones; together they are all that was read."""

    rows: list[Conversation]
    quarantined: list[BadRow]
    checks: list[dict[str, Any]]

    @property
    def read(self) -> int:
        """How many lines the file held."""
        return len(self.rows) + len(self.quarantined)

    def save(self, folder: Path) -> None:
        """Write `rows.jsonl` (lines as uploaded, with their numbers), `quarantined.jsonl` and `checks.json`."""
        # Quarantined lines may hold broken text: ASCII JSON carries anything.
        bad = [json.dumps(asdict(b)) for b in self.quarantined]
        save_rows(folder / "rows.jsonl", self.rows)
        write_text(folder / "quarantined.jsonl", "".join(line + "\n" for line in bad))
        write_json(folder / "checks.json", self.checks)

    @classmethod
    def load(cls, folder: Path) -> "ValidatedData":
        """Read what `save` wrote."""
        rows = load_rows(folder / "rows.jsonl")
        bad = (folder / "quarantined.jsonl").read_text(encoding="utf-8").splitlines()
        return cls(rows, [BadRow(**json.loads(line)) for line in bad], read_json(folder / "checks.json"))


def validate_user_data(
    path: Path, tokenizer: PreTrainedTokenizerBase, settings: ValidationSettings, max_length: int
) -> ValidatedData:
    """Read, check and sort every row.

    Raises:
        DataFormatError: the file is missing, empty or not JSONL.
        DataValidationError: a critical expectation fails (too many bad rows, too few usable ones).
    """
    rows: list[Conversation] = []
    bad: list[BadRow] = []
    columns: list[dict[str, int]] = []
    seen: set[bytes] = set()
    for found in read_rows(path, settings.max_row_characters):
        checked = found if isinstance(found, BadRow) else _check(found, tokenizer, max_length)
        if isinstance(found, Conversation) and isinstance(checked, int):
            rows.append(found)
            columns.append(_columns(found, checked, tokenizer, seen))
        elif isinstance(checked, BadRow):
            bad.append(checked)
            columns.append(_columns(None, 0, tokenizer, seen))
    checks = suite_results(pd.DataFrame(columns), settings.max_bad_share, settings.min_rows)
    failed = [check for check in checks if not check["passed"] and check["severity"] == "critical"]
    if failed or len(rows) < settings.min_rows:
        rules = ", ".join(str(check["rule"]) for check in failed) or "enough usable rows"
        first = "; ".join(f"row {b.row}: {b.code} at {b.field} ({b.remedy})" for b in bad[:5])
        raise DataValidationError(
            explain(
                f"the data fails: {rules} ({len(bad)} of {len(columns)} rows cannot be used)",
                f"{path}: {first}",
                "mend the rows, or raise validation.max_bad_share or lower validation.min_rows",
            )
        )
    return ValidatedData(rows, bad, checks)


def _check(row: Conversation, tokenizer: PreTrainedTokenizerBase, max_length: int) -> BadRow | int:
    """The row's length in tokens, or why it cannot be used."""
    roles = [m.role for m in row.messages]

    def bad(code: str, field: str, remedy: str) -> BadRow:
        return BadRow(row.row, code, field, remedy, row.original)

    if roles[-1] != "assistant":
        return bad("example_missing_assistant_message", "messages", "end the row with the answer to learn")
    if "system" in roles[1:]:
        return bad("unrecognized_role", "messages", "put the system message first")
    if not TURNS.fullmatch("".join(role[0] for role in roles)):
        return bad("roles_alternation", "messages", "let user and assistant take turns, user first")
    if not any(m.learn for m in row.messages if m.role == "assistant"):
        return bad("nothing_to_learn", "messages", "give at least one assistant message a weight of 1")
    for index, message in enumerate(row.messages):
        if not message.content.strip():
            return bad("missing_content", f"messages[{index}].content", "give the message some text")
    encoded = encode(tokenizer, row)
    if len(encoded) > max_length:
        return bad("too_many_tokens", "messages", f"{len(encoded)} tokens: keep a row under {max_length}")
    return len(encoded)


def _columns(
    row: Conversation | None, tokens: int, tokenizer: PreTrainedTokenizerBase, seen: set[bytes]
) -> dict[str, int]:
    """The row's line in the table that the expectations see; None stands for an unusable row."""
    if row is None:
        return {"usable": 0, "turns": 0, "tokens": 0, "special_tokens": 0, "duplicate": 0}
    text = "\x00".join(m.content for m in row.messages)
    digest = hashlib.blake2b(" ".join(text.lower().split()).encode(), digest_size=16).digest()
    duplicate = digest in seen
    seen.add(digest)
    forged = bool(special_tokens_in(tokenizer, text))
    return {
        "usable": 1,
        "turns": len(row.messages),
        "tokens": tokens,
        "special_tokens": int(forged),
        "duplicate": int(duplicate),
    }
