"""What tests make: rows, files, tiny models. Tests import from here, never from one another."""

import json
from pathlib import Path


def write_jsonl(path: Path, rows: list[dict]) -> Path:
    """One JSON object a line; returns the path."""
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def row(prompt: str, answer: str) -> dict:
    """A row in OpenAI's chat format."""
    return {"messages": [{"role": "user", "content": prompt}, {"role": "assistant", "content": answer}]}
