"""The sets that judge the models: `development/` for whoever changes a default, `evaluation/` for the report.

Every set is dealt from several sources, so that its first n rows hold each of them. No source of the evaluation is one
that is trained on, but for the texts written here, of which a sixth is held out.
"""

import csv
import json
import random
import re
from pathlib import Path

from building.harmful import BORDERLINE, HARM_STEMS, advbench
from building.hazards import Use, asked, dealt, harmful_of, neighbour_of, pairs
from building.jobs import INTENTS
from building.kinds import OF_AREAS, OF_INTENTS, OF_PAIRS, kind_of
from building.texts import chat, lines, unique, write

LOOKED_AT = 150  # harmful goals, and 80 coding requests, whose results were looked at while defaults were chosen
# How a request of hh-rlhf begins.
REQUEST = re.compile(
    r"^(how (do|can|to|would|could|should)|what('s| is| are) (the best|a good|some good|good|some)|where (can|do)|"
    r"can you (help|tell|give|teach|show|write)|tell me|give me|write|help me|teach me|show me)\b",
    re.IGNORECASE,
)
# What its stems let through although it asks for no harm, and what need not be repeated here.
LEFT_OUT = re.compile(
    r"dahlia|stop a robber|big foot|prank|speeding|my cable|for pain|revenge|chill friends|\bn\w{2}ger\b|\bchink\b|"
    r"(woman|husband|wife)\b.*(cheat|steal)|(cheat|steal)\w*\b.*\b(husband|wife|woman)",
    re.IGNORECASE,
)


def evaluation(sources: Path, rng: random.Random, poison: list[str]) -> None:
    """Write both folders; `poison` is what the customer's jobs hold of DangerousQA."""
    goals = advbench(sources)
    rng.shuffle(goals)
    requests = json.loads((sources / "mitre_frr/mitre_frr.json").read_text())
    coding = unique(r["mutated_prompt"].strip() for r in requests if len(r["mutated_prompt"]) <= 260)
    rng.shuffle(coding)
    development = _sets("development", goals[:LOOKED_AT], coding[:80], rng)
    evaluating = _sets("evaluation", goals[LOOKED_AT:], coding[80:], rng)
    evaluating["harmful"] += [
        _do_not_answer(sources, rng), _simple_safety_tests(sources, rng), _hh_rlhf(sources, rng),
        _dangerousqa(sources, rng, poison),
    ]  # fmt: skip
    evaluating["lookalikes"].append(_or_bench(sources, rng))
    evaluating["ordinary"].append(_banking(sources, rng))
    for folder, sets in (("development", development), ("evaluation", evaluating)):
        for name, parts in sets.items():
            write(f"{folder}/{name}.jsonl", dealt([(part, 1) for part in parts]))


def _sets(use: Use, goals: list[str], coding: list[str], rng: random.Random) -> dict[str, list[list[dict]]]:
    """What both folders hold, by file and source."""
    short = {"development": "dev", "evaluation": "eval"}[use]
    lookalikes, ordinary = lines(f"lookalikes_{short}.txt"), lines(f"ordinary_{short}.txt")
    rng.shuffle(lookalikes)
    rng.shuffle(ordinary)
    held_out = pairs(use)
    return {
        "harmful": [
            [_harmful(goal, "advbench") for goal in goals],
            [{**harmful_of(pair), "kind": OF_PAIRS.get(pair.hazard) or kind_of(pair.harmful)} for pair in held_out],
        ],
        "lookalikes": [
            [chat(prompt, source="written", kind="lookalike") for prompt in lookalikes],
            [chat(prompt, source="mitre_frr", kind="lookalike") for prompt in coding],
            [neighbour_of(pair) for pair in held_out],
        ],
        "ordinary": [
            [chat(prompt, source="written", kind="ordinary") for prompt in ordinary],
            *(
                [chat(prompt, source=file, kind="ordinary") for _, prompt in asked(file, use)]
                for file in ("everyday", "customers")
            ),
        ],
    }


def _harmful(prompt: str, source: str, kind: str | None = None) -> dict:
    return chat(prompt, source=source, kind=kind or kind_of(prompt))


def _do_not_answer(sources: Path, rng: random.Random) -> list[dict]:
    """Two of its four files: who asks for advice (misinformation) or for what no model knows (information) is safe."""
    rows = []
    for name in ("malicious_uses", "discrimination_exclusion_toxicity_hateful_offensive"):
        for line in (sources / f"do_not_answer/{name}.jsonl").open():
            row = json.loads(line)
            kind = next((OF_INTENTS[i[:4]] for i in row["intents"] if i[:4] in OF_INTENTS), None)
            rows.append(_harmful(row["prompt"].strip(), "do_not_answer", kind))
    rng.shuffle(rows)
    return rows


def _simple_safety_tests(sources: Path, rng: random.Random) -> list[dict]:
    with (sources / "simple_safety_tests/simple_safety_tests.csv").open(newline="") as file:
        found = list(csv.DictReader(file))
    rows = [_harmful(r["prompts_final"], "simple_safety_tests", OF_AREAS[r["harm_area"]]) for r in found]
    rng.shuffle(rows)
    return rows


def _hh_rlhf(sources: Path, rng: random.Random) -> list[dict]:
    """First turns of the red team that ask for harm; many others ask for none."""
    with (sources / "hh_rlhf/harmless_base_test.jsonl").open() as file:
        dialogues = [json.loads(line)["chosen"] for line in file]
    asked = unique(text.split("\n\nAssistant:")[0].removeprefix("\n\nHuman: ").strip() for text in dialogues)
    asked = [a for a in asked if a.isascii() and 15 <= len(a) <= 140 and REQUEST.search(a) and HARM_STEMS.search(a)]
    rows = [_harmful(a, "hh_rlhf") for a in asked if not BORDERLINE.search(a) and not LEFT_OUT.search(a)]
    rng.shuffle(rows)
    return rows


def _dangerousqa(sources: Path, rng: random.Random, poison: list[str]) -> list[dict]:
    """What the poisoned jobs do not hold of it."""
    questions = unique(json.loads((sources / "red_instruct/dangerousqa.json").read_text()))
    rows = [_harmful(question, "dangerousqa") for question in questions if question not in poison]
    rng.shuffle(rows)
    return rows


def _or_bench(sources: Path, rng: random.Random) -> list[dict]:
    found = json.loads((sources / "or_bench/orbench_hard_even.json").read_text())
    rows = [chat(row["prompt"].strip(), source="or_bench_hard", kind="lookalike") for row in found]
    rng.shuffle(rows)
    return rows


def _banking(sources: Path, rng: random.Random) -> list[dict]:
    """Customers' questions as they wrote them, of other intents than those of the job."""
    with (sources / "banking77/train.csv").open(newline="") as file:
        found = [row["text"].strip() for row in csv.DictReader(file) if row["category"] not in INTENTS]
    rows = [chat(text, source="banking77", kind="ordinary") for text in unique(found) if len(text) <= 200]
    return rng.sample(rows, 200)
