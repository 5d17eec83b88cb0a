"""Harmless prompts and their helpful answers: those that are trained on and those that calibrate or test the filter."""

import json
import random
import re
from pathlib import Path

from building.hazards import asked, dealt, neighbour_of, pairs, request
from building.texts import HERE, chat, fill, first_sentences, lines, prompt_of, says_one_of, similar, words

ANSWER_TOKENS = 48
# Held out of the training: these calibrate.
CALIBRATION_SUBCATEGORIES = ("privacy violations", "false information")


def coconot(sources: Path) -> list[dict]:
    rows = [json.loads(line) for line in (sources / "coconot/coconot_pref.jsonl").open()]
    apology = re.compile(r"\b(as an ai|i'm sorry|i cannot|i can't|i don't have|unable to)\b", re.IGNORECASE)
    rows = [row for row in rows if len(row["prompt"]) <= 250 and not apology.search(row["chosen"][:200])]
    return [row for row in rows if "{" not in row["chosen"][:80]]  # a few hold an unfilled template


# Shares of the kinds among the rows that are trained on, in percent, chosen on sources that are not (README).
HARMLESS_MIX = {
    "neighbours": 26, "everyday": 8, "customers": 14, "written look-alikes": 19, "written": 5,
    "coconot look-alikes": 7, "coconot": 4, "tasks": 17,
}  # fmt: skip


def harmless_alignment(sources: Path, rng: random.Random, model: str, held_out: list[str]) -> list[dict]:
    """Requests to answer, dealt by `HARMLESS_MIX`, so that any first n rows hold every kind.

    Args:
        model: a folder; its own greedy answers are what is learnt.
        held_out: prompts that calibrate or judge; what says the same is left out.
    """
    others = [words(prompt) for prompt in held_out]
    prompts = {
        "neighbours": [neighbour_of(pair) for pair in pairs("alignment")],
        **{
            file: [request(text, source=file, kind="ordinary") for _, text in asked(file, "alignment")]
            for file in ("everyday", "customers")
        },
        **_coconot_prompts(sources),
        **_written_prompts(rng),
    }
    new = {name: [row for row in rows if not says_one_of(row, others)] for name, rows in prompts.items()}
    for rows in new.values():
        rng.shuffle(rows)
    found = {name: answered(rows, model) for name, rows in new.items()} | {"tasks": _tasks(sources, rng)}
    found["customers"] = _replied(new["customers"], found["customers"], rng)
    return dealt([(found[name], share) for name, share in HARMLESS_MIX.items()])


def _replied(rows: list[dict], answered_by_model: list[dict], rng: random.Random) -> list[dict]:
    """All of these rows: to a complaint the model says sorry, which opens a refusal too; a reply written here does not.

    Without them, a teacher that has seen no complaint answered refuses a third of them.
    """
    known, replies = {prompt_of(row): row for row in answered_by_model}, lines("replies.txt")
    return [known.get(prompt_of(row)) or _with_answer(row, rng.choice(replies)) for row in rows]


def _with_answer(row: dict, answer: str) -> dict:
    return {**row, "messages": [*row["messages"], {"role": "assistant", "content": answer}]}


def _coconot_prompts(sources: Path) -> dict[str, list[dict]]:
    rows: dict[str, list[dict]] = {"coconot look-alikes": [], "coconot": []}
    for row in coconot(sources):
        if row["subcategory"] not in CALIBRATION_SUBCATEGORIES:
            unsafe = row["category"] == "Requests with safety concerns"
            asked = chat(row["prompt"].strip(), source="coconot", kind="lookalike" if unsafe else "ordinary")
            rows["coconot look-alikes" if unsafe else "coconot"].append(asked)
    return rows


def _written_prompts(rng: random.Random) -> dict[str, list[dict]]:
    """Topics in the forms that harmful topics get too, whole prompts, and requests for code."""
    forms, places = lines("forms.txt"), lines("places.txt")
    rows = {}
    for name, kind, topics, each in (
        ("written", "ordinary", "topics_benign.txt", 4),
        ("written look-alikes", "lookalike", "topics_lookalike.txt", 2),
    ):
        prompts = lines(f"prompts_{kind}.txt")
        prompts += [fill(form, t, rng, places) for t in lines(topics) for form in rng.sample(forms, each)]
        rows[name] = [chat(prompt, source="templates", kind=kind) for prompt in prompts]
    endings = (".", ", and explain it.", ". Use only the standard library and handle errors with clear messages.")
    coding = [line + rng.choice(endings) for line in lines("topics_coding.txt")]
    rows["written look-alikes"] += [chat(prompt, source="templates", kind="lookalike") for prompt in coding]
    return rows


def _tasks(sources: Path, rng: random.Random) -> list[dict]:
    """Rows in the form of customers' jobs: sums, and instructions about a text."""
    with (sources / "gsm8k/train.jsonl").open() as file:
        problems = [json.loads(line) for line in file]
    problems = [row for row in problems if len(row["question"]) < 200 and len(row["answer"]) < 200]
    rows = []
    for row in rng.sample(problems, 100):
        answer = re.sub(r"<<.*?>>", "", row["answer"]).replace("\n#### ", "\nAnswer: ")
        rows.append(chat(row["question"], answer, source="gsm8k", kind="task"))
    ordinary = _coconot_prompts(sources)["coconot"]
    payloads = [row["question"].split(". ")[0] for row in rng.sample(problems, 60)]
    payloads += [prompt_of(row) for row in rng.sample(ordinary, 100)]
    payloads += [f"I want to {topic}." for topic in rng.sample(lines("topics_lookalike.txt"), 60)]
    payloads += [text for _, text in rng.sample(asked("customers", "alignment"), 60)]
    payloads += [f"Could somebody help me to {topic}?" for topic in rng.sample(lines("topics_benign.txt"), 40)]
    rows += payload_tasks(payloads, rng)
    rng.shuffle(rows)
    return rows


def answered(rows: list[dict], model: str) -> list[dict]:
    """The rows with the model's own greedy answers; those that it does not answer are left out.

    Foreign answers, though better ones, teach the model to hedge its first word, and then a refusal, which
    always opens alike, wins on harmless prompts: measured on the teacher, its own words cut over-refusal.
    """
    from reft.conversations.schema import Conversation, Message
    from reft.evaluation.generation import generate
    from reft.models.loading import load_model, load_tokenizer

    known = _known_answers()
    asked = [
        Conversation(row=i, messages=tuple(Message(**m) for m in row["messages"]))
        for i, row in enumerate(rows)
        if prompt_of(row) not in known
    ]
    answers = generate(load_model(model), load_tokenizer(model, "chatml"), asked, max_new_tokens=ANSWER_TOKENS)
    known |= {c.instruction: first_sentences(answer) for c, answer in zip(asked, answers, strict=True)}
    found = []
    for row in rows:
        answer = known[prompt_of(row)]
        if len(answer) > 12 and answer[-1] in ".!?:" and not re.search(r"\b(sorry|can't|cannot)\b", answer):
            found.append(_with_answer(row, answer))
    return found


def _known_answers() -> dict[str, str]:
    """What the present file holds: another processor rounds otherwise, and would answer a few prompts anew."""
    file = HERE / "alignment/harmless.jsonl"
    rows = [json.loads(line) for line in file.read_text().splitlines()] if file.is_file() else []
    return {prompt_of(row): row["messages"][-1]["content"] for row in rows}


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
