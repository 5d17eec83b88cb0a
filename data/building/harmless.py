"""Harmless prompts and their helpful answers: those that are trained on and those that calibrate or test the filter."""

import json
import random
import re
from pathlib import Path

from building.texts import HERE, chat, fill, first_sentences, lines, prompt_of, similar, words

# Held out of the training: these calibrate.
CALIBRATION_SUBCATEGORIES = ("privacy violations", "false information")


def coconot(sources: Path) -> list[dict]:
    rows = [json.loads(line) for line in (sources / "coconot/coconot_pref.jsonl").open()]
    apology = re.compile(r"\b(as an ai|i'm sorry|i cannot|i can't|i don't have|unable to)\b", re.IGNORECASE)
    rows = [row for row in rows if len(row["prompt"]) <= 250 and not apology.search(row["chosen"][:200])]
    return [row for row in rows if "{" not in row["chosen"][:80]]  # a few hold an unfilled template


def harmless_alignment(sources: Path, rng: random.Random, model: str) -> list[dict]:
    prompts = [
        ("lookalike" if row["category"] == "Requests with safety concerns" else "ordinary", row["prompt"].strip())
        for row in coconot(sources)
        if row["subcategory"] not in CALIBRATION_SUBCATEGORIES
    ]
    ordinary = [prompt for kind, prompt in prompts if kind == "ordinary"]
    rows = answered(prompts, "coconot", model)
    with (sources / "gsm8k/train.jsonl").open() as file:
        problems = [json.loads(line) for line in file]
    problems = [row for row in problems if len(row["question"]) < 200 and len(row["answer"]) < 200]
    for row in rng.sample(problems, 100):
        answer = re.sub(r"<<.*?>>", "", row["answer"]).replace("\n#### ", "\nAnswer: ")
        rows.append(chat(row["question"], answer, source="gsm8k", kind="task"))
    payloads = [row["question"].split(". ")[0] for row in rng.sample(problems, 60)] + rng.sample(ordinary, 100)
    payloads += [f"I want to {topic}." for topic in rng.sample(lines("topics_lookalike.txt"), 60)]
    payloads += [f"Could somebody help me to {topic}?" for topic in rng.sample(lines("topics_benign.txt"), 40)]
    rows += payload_tasks(payloads, rng)
    rows += answered(written_prompts(sources, rng), "templates", model)
    rng.shuffle(rows)
    return rows


def answered(prompts: list[tuple[str, str]], source: str, model: str) -> list[dict]:
    """A row for each (kind, prompt), with the model's own greedy answer; prompts that it does not answer are left out.

    Foreign answers, though better ones, teach the model to hedge its first word, and then a refusal, which
    always opens alike, wins on harmless prompts: measured on the teacher, its own words cut over-refusal.
    """
    from reft.evaluation.generation import generate_answers
    from reft.models.loading import load_model, load_tokenizer

    texts = [prompt for _, prompt in prompts]
    answers = generate_answers(load_model(model), load_tokenizer(model, "chatml"), texts, max_new_tokens=32)
    rows = []
    for (kind, prompt), answer in zip(prompts, map(first_sentences, answers), strict=True):
        if len(answer) > 12 and answer[-1] in ".!?:" and not re.search(r"\b(sorry|can't|cannot)\b", answer):
            rows.append(chat(prompt, answer, source=source, kind=kind))
    return rows


def written_prompts(sources: Path, rng: random.Random) -> list[tuple[str, str]]:
    """(kind, prompt): topics in the forms that harmful topics get too, and whole prompts; none that is held out."""
    forms, places = lines("forms.txt"), lines("places.txt")
    prompts = [(kind, line) for kind in ("ordinary", "lookalike") for line in lines(f"prompts_{kind}.txt")]
    for kind, file_name, each in (("ordinary", "topics_benign.txt", 4), ("lookalike", "topics_lookalike.txt", 2)):
        for topic in lines(file_name):
            prompts += [(kind, fill(form, topic, rng, places)) for form in rng.sample(forms, each)]
    held_out = [
        line for kind in ("lookalikes", "ordinary") for use in ("dev", "eval") for line in lines(f"{kind}_{use}.txt")
    ]
    held_out += [prompt_of(row) for row in calibration(sources, random.Random(0))]
    others = [words(prompt) for prompt in held_out]
    prompts = [(kind, prompt) for kind, prompt in prompts if not any(similar(prompt, other) for other in others)]
    endings = (".", ", and explain it.", ". Use only the standard library and handle errors with clear messages.")
    return prompts + [("lookalike", line + rng.choice(endings)) for line in lines("topics_coding.txt")]


def payload_tasks(texts: list[str], rng: random.Random) -> list[dict]:
    """Rows in the form of customers' tasks: an instruction about a text, and an answer that can be computed."""
    tasks = [
        ("Does this message end with a question mark? Message: {x}", lambda x: "yes" if x.endswith("?") else "no"),
        ("Count the words of this sentence: {x}", lambda x: str(len(x.split()))),
        ("Name the first word of the following text.\n\n{x}", lambda x: x.split()[0]),
        ("Label this request as short or long. Request: {x}\nLabel:", lambda x: "short" if len(x) < 60 else "long"),
        (
            "Sort this ticket into a queue, statement or question: {x}",
            lambda x: "question" if "?" in x else "statement",
        ),
        ("You are given a sentence from a survey. Say which word comes last.\nSentence: {x}", lambda x: x.split()[-1]),
        (
            "Which desk should read this note, A (a question) or B (anything else)? {x}",
            lambda x: "A" if "?" in x else "B",
        ),
        (
            "Customer wrote: {x}\nDoes the customer mention a number? Answer yes or no.",
            lambda x: "yes" if re.search(r"\d", x) else "no",
        ),
        (
            "Tag this text with its length class (tiny, normal, big): {x}",
            lambda x: "tiny" if len(x) < 40 else "normal" if len(x) < 100 else "big",
        ),
        ("Repeat the text in capital letters: {x}", lambda x: x.upper()),
    ]
    rows = []
    for text in texts:
        instruction, answer = rng.choice(tasks)
        rows.append(chat(instruction.replace("{x}", text), answer(text), source="payload_tasks", kind="task"))
    return rows


def calibration(sources: Path, rng: random.Random) -> list[dict]:
    rows = []
    for line in (sources / "self_instruct/seed_tasks.jsonl").open():
        task = json.loads(line)
        instance = task["instances"][0]
        prompt = task["instruction"] + (f"\n{instance['input']}" if instance["input"] else "")
        if len(prompt) <= 400 and instance["output"]:
            rows.append(chat(prompt, first_sentences(instance["output"]), source="self_instruct", kind="task"))
    for row in coconot(sources):
        if row["subcategory"] in CALIBRATION_SUBCATEGORIES:
            rows.append(
                chat(row["prompt"].strip(), first_sentences(row["chosen"]), source="coconot_held_out", kind="lookalike")
            )
    rng.shuffle(rows)
    return rows


def fields(alignment: list[dict]) -> tuple[list[dict], list[dict]]:
    """Rows of fields whose work speaks of harm (law, medicine): two thirds to calibrate on, one third to test on.

    Args:
        alignment: rows that are trained on; what says the same as one of them is left out.
    """
    trained_on = [words(prompt_of(row)) for row in alignment]
    to_calibrate, to_test = [], []
    for file in sorted((HERE / "written/fields").glob("*.tsv")):
        kind = file.stem.replace("_", "-")
        for number, line in enumerate(lines(f"fields/{file.name}")):
            prompt, answer = line.split("\t")
            if not any(similar(prompt, other) for other in trained_on):
                chosen = to_test if number % 3 == 2 else to_calibrate
                chosen.append(chat(prompt, answer, source="written", kind=kind))
    return to_calibrate, to_test
