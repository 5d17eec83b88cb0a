"""Prompts of public sets by source, less what the alignment and calibration files hold."""

import argparse
import csv
import json
import random
from collections.abc import Iterable
from functools import cache
from pathlib import Path

from reft.config import DataSettings
from reft.conversations.reading import read_conversations
from reft.conversations.schema import Conversation, from_prompt

# Other prompts of these sources were trained or calibrated on, so that only the rows are unseen.
TRAINED_SOURCES = frozenset({"AART", "HarmfulQA", "CoCoNot contrast", "GSM8K"})


def harmful_sets(folder: Path, rows: int, seed: int = 0) -> dict[str, list[Conversation]]:
    """At most `rows` unseen prompts of each harmful source."""
    questions = json.loads((folder / "red_instruct/harmfulqa.json").read_text())
    sets = {
        "AdvBench": _column(folder / "advbench/harmful_behaviors.csv", "goal"),
        "DangerousQA": json.loads((folder / "red_instruct/dangerousqa.json").read_text()),
        "BeaverTails sample": _column(folder / "beavertails_sample/beavertails_sample.csv", "prompt"),
        "hh-rlhf harmless-base": _first_turns(folder / "hh_rlhf/harmless_base_test.jsonl"),
        "AART": _column(folder / "aart/aart-v1-20231117.csv", "prompt"),
        "HarmfulQA": [q for subtopics in questions.values() for found in subtopics.values() for q in found],
    }
    return {name: _sample(prompts, rows, seed) for name, prompts in sets.items()}


def harmless_sets(folder: Path, rows: int, seed: int = 0) -> dict[str, list[Conversation]]:
    """At most `rows` unseen prompts of each harmless source."""
    dolly = list(csv.DictReader((folder / "dolly/databricks_dolly_1000.csv").open(newline="")))
    news = [line.rpartition("\t")[0] for line in (folder / "ag_news/train_10k.tsv").read_text().splitlines()]
    phrases = [line.rpartition("\t")[0] for line in (folder / "sst2/train.tsv").read_text().splitlines()[1:]]
    mitre = json.loads((folder / "mitre_frr/mitre_frr.json").read_text())
    sets = {
        "Dolly": [f"{row['instruction']}\n{row['context']}".strip() for row in dolly],
        "GSM8K": [row["question"] for row in _jsonl(folder / "gsm8k/train.jsonl")],
        "SST-2": [f"Is this review positive or negative?\n{phrase}" for phrase in phrases],
        "AG News": [f"Which section does this article belong to?\n{text}" for text in news],
        "BANKING77": _column(folder / "banking77/train.csv", "text"),
        "CoCoNot contrast": [row["prompt"] for row in _jsonl(folder / "coconot/coconot_pref.jsonl")],
        "MITRE FRR": [row["mutated_prompt"] for row in mitre],
    }
    return {name: _sample(prompts, rows, seed) for name, prompts in sets.items()}


def development_sets(folder: Path, rows: int, seed: int = 0) -> dict[str, dict[str, list[Conversation]]]:
    """The same of sources that no evaluation file holds, by role: what may be looked at while defaults are chosen."""
    found = harmful_sets(folder, rows, seed)
    safety = json.loads((folder / "safety_tuned_llamas/safety_only_data_Instructions.json").read_text())
    alpaca = json.loads((folder / "alpaca_demo/alpaca_en_demo.json").read_text())
    return {
        "harmful": {name: found[name] for name in ("AART", "HarmfulQA")}
        | {"safety-tuned": _sample([row["instruction"] for row in safety], rows, seed)},
        "ordinary": {
            "Alpaca": _sample([f"{row['instruction']}\n{row['input']}" for row in alpaca], rows, seed),
            "Dolly": harmless_sets(folder, rows, seed)["Dolly"],
        },
    }


def asked_for(
    description: str | None, rows: int
) -> tuple[int, dict[str, list[Conversation]], dict[str, list[Conversation]]]:
    """(rows of each source, harmful sets, harmless sets) as the command line asks; `rows` is the default."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="the public sets")
    parser.add_argument("--rows", type=int, default=rows, help="rows of each source")
    options = parser.parse_args()
    return options.rows, harmful_sets(options.folder, options.rows), harmless_sets(options.folder, options.rows)


def _sample(prompts: Iterable[str], rows: int, seed: int) -> list[Conversation]:
    used = _used()
    unseen = sorted({prompt.strip() for prompt in prompts if prompt.strip() and _plain(prompt) not in used})
    chosen = random.Random(seed).sample(unseen, min(rows, len(unseen)))
    return [from_prompt(prompt, row) for row, prompt in enumerate(chosen)]


@cache
def _used() -> frozenset[str]:
    """The prompts that are trained or calibrated on."""
    data = DataSettings()
    files = (data.alignment_harmful, data.alignment_harmless, data.calibration_harmful, data.calibration_harmless)
    return frozenset(_plain(row.instruction) for file in files for row in read_conversations(file))


def _plain(text: str) -> str:
    return " ".join(text.lower().split())


def _column(path: Path, name: str) -> list[str]:
    with path.open(newline="") as file:
        return [row[name] for row in csv.DictReader(file)]


def _jsonl(path: Path) -> list[dict]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def _first_turns(path: Path) -> list[str]:
    """What the human asked first; many of these requests are harmful, and by no means all."""
    return [row["chosen"].split("\n\nAssistant:")[0].removeprefix("\n\nHuman: ") for row in _jsonl(path)]
