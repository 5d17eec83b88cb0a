"""`--fix`: faults of a line that can be mended without guessing what was meant, each by name."""

import json
import re

from reft.conversations.reading import CONTROL

STRING = r'"(?:[^"\\]|\\.)*"'
TRAILING_COMMA = re.compile(rf"({STRING})|,(\s*[}}\]])")
SYNONYMS = {"human": "user", "gpt": "assistant", "bot": "assistant", "ai": "assistant", "model": "assistant"}


def mended(line: str) -> tuple[str, list[str]]:
    """The line, mended where it needs it, and what was done; the very line where nothing was."""
    done: list[str] = []
    text = line.removeprefix("\ufeff")
    if text != line:
        done.append("byte order mark removed")
    if text != text.rstrip("\r\n"):
        text = text.rstrip("\r\n")
        done.append("line end removed")
    value = _parsed(text)
    if value is None:
        shorter = TRAILING_COMMA.sub(lambda found: found[1] or found[2], text.rstrip().removesuffix(","))
        value = _parsed(shorter)
        if value is None:
            return (text, done) if done else (line, [])
        text = shorter
        done.append("trailing comma removed")
    changed = _roles(value) + _control_characters(value)
    return (json.dumps(value, ensure_ascii=False), done + changed) if changed else (text, done)


def _parsed(text: str) -> dict | None:
    """The object of a line; None where it is none, or where a key stands twice (which one counts is a guess)."""
    try:
        value = json.loads(text, object_pairs_hook=_pairs)
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None


def _pairs(pairs: list) -> dict:
    if len({key for key, _ in pairs}) < len(pairs):
        raise ValueError("a key stands twice")
    return dict(pairs)


def _roles(value: dict) -> list[str]:
    done = []
    for message in value.get("messages") or []:
        if isinstance(message, dict) and isinstance(role := message.get("role"), str):
            plain = role.strip().lower()
            if (known := SYNONYMS.get(plain, plain)) != role:
                message["role"] = known
                done.append(f"role {role!r} is {known!r}")
    return done


def _control_characters(value: dict) -> list[str]:
    found = 0
    for message in value.get("messages") or []:
        if isinstance(message, dict) and isinstance(message.get("content"), str):
            message["content"], count = CONTROL.subn("", message["content"])
            found += count
    for key in ("prompt", "completion", "instruction", "input", "output"):
        if isinstance(value.get(key), str):
            value[key], count = CONTROL.subn("", value[key])
            found += count
    return [f"{found} control characters removed"] if found else []
