"""Harmful prompts: those that are trained on (with refusals), and those that are held out."""

import csv
import json
import random
import re
from pathlib import Path

from building.hazards import dealt, harmful_of, pairs
from building.texts import chat, fill, lines, plain, says_one_of, unique, words

# Stems without which an AART or HarmfulQA prompt is too often merely odd ("win at blackjack") to be
# taught as something to refuse: a refused borderline prompt teaches over-refusal.
HARM_STEMS = re.compile(
    r"launder|traffick|\bkill|bomb|steal|stole|fraud|\brap(e|ing)|weapon|\bhack|murder|poison|smuggl|"
    r"counterfeit|terroris|explosi|assault|get away with|fake id|forge|blackmail|sabotag|bribe|evade tax|"
    r"tax evasion|abuse|\bdrugs?\b|cocaine|heroin|meth\b|fentanyl|burglar|robb|shoplift|scam|phish|malware|"
    r"ransom|stalk|harass|threaten|incite|violence|genocide|extort|embezzl|kidnap|arson|insider trading|"
    r"identity theft|illegal|cheat|plagiari|exploit|manipulat|discriminat|propaganda|spread (false|hate)|"
    r"racis|sexis|homophob|transphob|\bhat(e|red)\b|stereotyp|bully|inferior|superior to|prejudic|bigot|mock",
    re.IGNORECASE,
)

# What the stems let through although it is harmless or merely rude: refusing it would teach over-refusal.
BORDERLINE = re.compile(
    r"prevent|avoid|protect|\bgame|blackjack|straw|fracking|coral|hormone|readers|\bart\b|artwork|essay|homework|"
    r"manipulat(?!.*(people|someone|election|voter|public))|exploit(?!.*(worker|people|vulnerab|child))|price|death|"
    r"\bdid\b|data visuali|effect size|hypno|plagiari|inferior|writing|film|novel|story|consumer|customers",
    re.IGNORECASE,
)


# Shares of the sources among the rows that are trained on, in percent, chosen on sources that are not (README).
HARMFUL_MIX = {"pairs": 50, "aart": 22, "harmfulqa": 13, "templates": 15}


def harmful_alignment(sources: Path, rng: random.Random, held_out: list[str]) -> list[dict]:
    """Requests to refuse, dealt by `HARMFUL_MIX`, so that any first n rows hold every source and hazard.

    Args:
        held_out: prompts that calibrate, poison the user's job, or judge; what says the same is left out.
    """
    refusals, others = lines("refusals.txt"), [words(prompt) for prompt in held_out]
    found = {
        "pairs": [harmful_of(pair, rng.choice(refusals)) for pair in pairs("alignment")],
        "aart": [chat(prompt, rng.choice(refusals), source="aart") for prompt in _aart(sources, rng)],
        "harmfulqa": [chat(prompt, rng.choice(refusals), source="harmfulqa") for prompt in _harmfulqa(sources, rng)],
        "templates": [chat(prompt, rng.choice(refusals), source="templates") for prompt in _templates(rng)],
    }
    new = {name: [row for row in rows if not says_one_of(row, others)] for name, rows in found.items()}
    return dealt([(new[name], share) for name, share in HARMFUL_MIX.items()])


def _aart(sources: Path, rng: random.Random) -> list[str]:
    """One prompt in ten as a long role-play, in the very frames that harmless prompts get too."""
    with (sources / "aart/aart-v1-20231117.csv").open(newline="") as file:
        prompts = unique(row["prompt"].strip() for row in csv.DictReader(file))
    prompts = [p for p in prompts if plain(p) and HARM_STEMS.search(p)]
    prompts = [p for p in prompts if not re.search(r"straw|fracking|coral|blackjack|litter", p, re.IGNORECASE)]
    rng.shuffle(prompts)
    roleplay = [form for form in lines("forms.txt") if len(form) > 150]
    for index, prompt in enumerate(prompts):
        if index % 10 == 9 and prompt.lower().startswith("how to "):
            prompts[index] = fill(rng.choice(roleplay), prompt[7:], rng, ["this city"])
    return prompts[:500]


def _harmfulqa(sources: Path, rng: random.Random) -> list[str]:
    topics = json.loads((sources / "red_instruct/harmfulqa.json").read_text())
    questions = unique(q for subtopics in topics.values() for qs in subtopics.values() for q in qs)
    questions = [q for q in questions if plain(q) and HARM_STEMS.search(q) and not BORDERLINE.search(q)]
    questions = [q for q in questions if re.match(r"how (to|can|do|would)|can you", q, re.IGNORECASE)]
    rng.shuffle(questions)
    return questions[:350]


def _templates(rng: random.Random) -> list[str]:
    """Topics in the very forms that harmless topics are put into, so that the form gives no answer away."""
    forms, places = lines("forms.txt"), lines("places.txt")
    filled = [fill(form, topic, rng, places) for topic in lines("topics_harmful.txt") for form in rng.sample(forms, 3)]
    rng.shuffle(filled)
    return filled


def advbench(sources: Path) -> list[str]:
    with (sources / "advbench/harmful_behaviors.csv").open(newline="") as file:
        return unique(row["goal"] for row in csv.DictReader(file))


def harmful_validation(sources: Path) -> list[dict]:
    known = set(advbench(sources)) | set(json.loads((sources / "red_instruct/adversarialqa.json").read_text()))
    mixed = json.loads((sources / "refusal_direction/harmful_train.json").read_text())
    rows = [chat(r["instruction"], source="refusal_direction") for r in mixed if r["instruction"] not in known]
    with (sources / "gptfuzz_judge/question_list_0_79.csv").open(newline="") as file:
        rows += [chat(row["text"].strip(), source="gptfuzz") for row in csv.DictReader(file)]
    return rows
