"""`--fix`: faults of a line that can be mended without guessing what was meant, each by name."""

import json
import re
from typing import Any

from reft.conversations.fields import RowDecoder, is_unicode
from reft.conversations.reading import CONTROL

# One that nothing closes holds all the rest: else every quote within it would be tried as a beginning.
STRING = r'"(?:[^"\\]|\\.)*(?:"|\\?\Z)'
TRAILING_COMMA = re.compile(rf"({STRING})|,(\s*[}}\]])", re.DOTALL)
SYNONYMS = {"human": "user", "gpt": "assistant", "chatgpt": "assistant", "bot": "assistant", "ai": "assistant",
            "model": "assistant"}  # fmt: skip
# The same for turns that say who speaks in `from`.
SHAREGPT_SYNONYMS = {"bot": "gpt", "ai": "gpt", "model": "gpt"}
# Where a row may hold a list of turns.
PROMPTS = ("instruction", "prompt", "question", "query")
TURN_LISTS = ("messages", "conversations", "prompt", "completion")


def mended(line: str, *, merge_system: bool = False) -> tuple[str, list[str]]:
    """The line, mended where it needs it, and what was done; the very line where nothing was.

    Args:
        merge_system: the model's template knows no system turn: put its text before the first user's.
    """
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
    changed = _roles(value) + (_system(value) if merge_system else [])
    try:
        value, removed = _without_control(value)
        changed += [f"{removed} control characters removed"] if removed else []
        better = json.dumps(value, ensure_ascii=False) if changed else text
    except RecursionError:  # it can be read, but not taken apart
        return line, []
    if not changed or not is_unicode(better):
        return text, done  # halves of characters make a bad row of it whatever is mended: it leaves as it came
    return better, done + changed


def _parsed(text: str) -> dict | None:
    """The object of a line; None where it is none, or where a key stands twice (which one counts is a guess)."""
    try:
        value = DECODER.decode(text)
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None


def _pairs(pairs: list) -> dict:
    if len({key for key, _ in pairs}) < len(pairs):
        raise ValueError("a key stands twice")
    return dict(pairs)


DECODER = RowDecoder(pairs=_pairs)


def _turns(value: dict) -> list[dict]:
    """The turns of a row, whichever field holds them."""
    found = [value.get(name) for name in TURN_LISTS]
    return [turn for turns in found if isinstance(turns, list) for turn in turns if isinstance(turn, dict)]


def _roles(value: dict) -> list[str]:
    done = []
    for turn in _turns(value):
        for key, synonyms in (("role", SYNONYMS), ("from", SHAREGPT_SYNONYMS)):
            if isinstance(name := turn.get(key), str):
                plain = name.strip().lower()
                if (known := synonyms.get(plain, plain)) != name:
                    turn[key] = known
                    done.append(f"{key} {name[:20]!r} is {known!r}")
    return done


def _system(value: dict) -> list[str]:
    """The system turn's or column's text, put before what the first user says."""
    for name in TURN_LISTS:
        turns = value.get(name)
        if isinstance(turns, list) and len(turns) > 1 and all(isinstance(turn, dict) for turn in turns[:2]):
            what = "value" if "value" in turns[0] else "content"
            who = "from" if "from" in turns[0] else "role"
            texts = [turn.get(what) for turn in turns[:2]]
            if turns[0].get(who) == "system" and all(isinstance(text, str) for text in texts):
                turns[1][what] = "\n\n".join(filter(None, (text.strip() for text in texts)))
                del turns[0]
                return ["system turn merged into the user's"]
    columns = (key for key in ("system", "system_prompt") if isinstance(value.get(key), str) and value[key].strip())
    if not (system := next(columns, None)):
        return []
    prompt = next((key for key in PROMPTS if isinstance(value.get(key), str)), "")
    turn = next((turn for turn in _turns(value) if "user" in turn.values() or "human" in turn.values()), None)
    holder, key = (value, prompt) if prompt else (turn, "value" if turn and "value" in turn else "content")
    if holder is None or not isinstance(holder.get(key), str):
        return []
    holder[key] = f"{value[system].strip()}\n\n{holder[key]}"
    value[system] = ""  # not taken out: a table's row has a cell for each column; empty, it says nothing
    return ["system turn merged into the user's"]


def _without_control(value: Any) -> tuple[Any, int]:
    """The value without control characters in any of its texts, and how many there were."""
    if isinstance(value, str):
        return CONTROL.subn("", value)
    if isinstance(value, dict):
        found = {key: _without_control(item) for key, item in value.items()}
        return {key: item for key, (item, _) in found.items()}, sum(count for _, count in found.values())
    if isinstance(value, list):
        items = [_without_control(item) for item in value]
        return [item for item, _ in items], sum(count for _, count in items)
    return value, 0
