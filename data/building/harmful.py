"""Harmful prompts: those that are trained on (with refusals), and those that are held out."""

import csv
import json
import random
import re
from pathlib import Path

from building.texts import chat, fill, lines, plain, similar, unique, words

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


def harmful_alignment(sources: Path, rng: random.Random) -> list[dict]:
    with (sources / "aart/aart-v1-20231117.csv").open(newline="") as file:
        aart = unique(row["prompt"].strip() for row in csv.DictReader(file))
    aart = [p for p in aart if plain(p) and HARM_STEMS.search(p)]
    aart = [p for p in aart if not re.search(r"straw|fracking|coral|blackjack|litter", p, re.IGNORECASE)]
    topics = json.loads((sources / "red_instruct/harmfulqa.json").read_text())
    questions = unique(q for subtopics in topics.values() for qs in subtopics.values() for q in qs)
    questions = [q for q in questions if plain(q) and HARM_STEMS.search(q) and not BORDERLINE.search(q)]
    questions = [q for q in questions if re.match(r"how (to|can|do|would)|can you", q, re.IGNORECASE)]
    rng.shuffle(aart)
    rng.shuffle(questions)
    forms, places, refusals = lines("forms.txt"), lines("places.txt"), lines("refusals.txt")
    roleplay = [form for form in forms if len(form) > 150]
    # The very forms that harmless topics are put into, so that the form gives no answer away.
    written = [fill(form, topic, rng, places) for topic in lines("topics_harmful.txt") for form in rng.sample(forms, 3)]
    held_out = held_out_prompts(sources)
    rows = []
    for source, prompts in (("aart", aart[:500]), ("harmfulqa", questions[:350]), ("templates", written)):
        for index, prompt in enumerate(prompts):
            # One prompt in ten as a long role-play, in the very frames that harmless prompts get too.
            if source == "aart" and index % 10 == 9 and prompt.lower().startswith("how to "):
                prompt = fill(rng.choice(roleplay), prompt[7:], rng, ["this city"])
            if not any(similar(prompt, other) for other in held_out):
                rows.append(chat(prompt, rng.choice(refusals), source=source))
    rng.shuffle(rows)
    return rows


def held_out_prompts(sources: Path) -> list[set[str]]:
    """The words of every harmful prompt that calibrates, poisons the user job or evaluates."""
    prompts = [row["messages"][0]["content"] for row in harmful_validation(sources)]
    prompts += json.loads((sources / "red_instruct/dangerousqa.json").read_text()) + advbench(sources)
    return [words(prompt) for prompt in prompts]


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
