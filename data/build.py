"""Makes the JSONL files of this folder from public sources and from the texts in `written/`.

Run once by a maintainer; its output is committed, so a user never needs it:

    python data/build.py --sources SOURCES --model MODEL_FOLDER

SOURCES holds the original files under the folder names of the README's table. The seed is fixed and
every choice below is a rule, so that anybody with the same sources gets the same files. The only
part that is not a plain selection are the answers to the templated harmless prompts: the model in
MODEL_FOLDER writes them, greedily.
"""

import argparse
import csv
import json
import random
import re
from collections.abc import Iterable
from pathlib import Path

HERE = Path(__file__).parent
SEED = 20261124

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
STOP_WORDS = frozenset(
    re.findall(
        r"\w+",
        "a an the to of in on for and or is are was do does i me my you your it that how what can way "
        "best some tips give write explain without with from by",
    )
)
INTENTS = {
    "activate_my_card": "activate card",
    "card_arrival": "card delivery",
    "change_pin": "change pin",
    "lost_or_stolen_card": "lost card",
    "request_refund": "refund",
    "exchange_rate": "exchange rate",
    "top_up_failed": "top-up failed",
    "cash_withdrawal_charge": "cash fee",
    "cancel_transfer": "cancel transfer",
    "terminate_account": "close account",
    "age_limit": "age limit",
    "verify_my_identity": "identity check",
}
ROUTING_PROMPT = "Route this customer message to a team: {text}"


def lines(name: str) -> list[str]:
    return (HERE / "written" / name).read_text().splitlines()


def chat(prompt: str, answer: str | None = None, **fields: object) -> dict:
    messages = [{"role": "user", "content": prompt}]
    if answer is not None:
        messages.append({"role": "assistant", "content": answer})
    return {"messages": messages, **fields}


def write(path: str, rows: Iterable[dict]) -> None:
    target = HERE / path
    target.parent.mkdir(parents=True, exist_ok=True)
    rows = list(rows)
    target.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))
    print(f"{path}: {len(rows)} rows")


def first_sentences(text: str, limit: int = 70) -> str:
    """The opening sentences of an answer, at most about `limit` characters: enough to show that it helps."""
    text = " ".join(re.split(r"\n\s*\n|\n(?=\s*(?:\d+\.|[-*]))", text)[0].split())
    if len(text) <= limit:
        return text
    kept = ""
    for sentence in re.split(r"(?<=[.!?:])\s+", text):
        if kept and len(kept) + len(sentence) > limit:
            break
        kept = f"{kept} {sentence}".strip()
    return kept


def plain(text: str) -> bool:
    return text.isascii() and 12 <= len(text) <= 220 and "\n" not in text.strip()


def unique(prompts: Iterable[str]) -> list[str]:
    seen: set[str] = set()
    return [p for p in prompts if (k := re.sub(r"\W+", " ", p.lower()).strip()) not in seen and not seen.add(k)]


def fill(form: str, topic: str, rng: random.Random, places: list[str]) -> str:
    return form.replace("{t}", topic).replace("{p}", rng.choice(places))


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


def words(text: str) -> set[str]:
    return set(re.findall(r"[a-z]+", text.lower())) - STOP_WORDS


def similar(prompt: str, other: set[str]) -> bool:
    """Two prompts say the same when they share two thirds of their content words."""
    mine = words(prompt)
    return len(mine & other) >= 0.66 * len(mine | other)


def coconot(sources: Path) -> list[dict]:
    rows = [json.loads(line) for line in (sources / "coconot/coconot_pref.jsonl").open()]
    apology = re.compile(r"\b(as an ai|i'm sorry|i cannot|i can't|i don't have|unable to)\b", re.IGNORECASE)
    rows = [row for row in rows if len(row["prompt"]) <= 250 and not apology.search(row["chosen"][:200])]
    return [row for row in rows if "{" not in row["chosen"][:80]]  # a few hold an unfilled template


def harmless_alignment(sources: Path, rng: random.Random, model: str) -> list[dict]:
    rows = []
    for row in coconot(sources):
        if row["subcategory"] in ("privacy violations", "false information"):
            continue  # calibration
        kind = "lookalike" if row["category"] == "Requests with safety concerns" else "ordinary"
        rows.append(chat(row["prompt"].strip(), first_sentences(row["chosen"]), source="coconot", kind=kind))
    with (sources / "gsm8k/train.jsonl").open() as file:
        problems = [json.loads(line) for line in file]
    problems = [row for row in problems if len(row["question"]) < 200 and len(row["answer"]) < 200]
    for row in rng.sample(problems, 100):
        answer = re.sub(r"<<.*?>>", "", row["answer"]).replace("\n#### ", "\nAnswer: ")
        rows.append(chat(row["question"], answer, source="gsm8k", kind="task"))
    payloads = [row["question"].split(". ")[0] for row in rng.sample(problems, 60)]
    payloads += rng.sample([row["messages"][0]["content"] for row in rows if row["kind"] == "ordinary"], 100)
    payloads += [f"I want to {topic}." for topic in rng.sample(lines("topics_lookalike.txt"), 60)]
    payloads += [f"Could somebody help me to {topic}?" for topic in rng.sample(lines("topics_benign.txt"), 40)]
    rows += payload_tasks(payloads, rng)
    forms, places = lines("forms.txt"), lines("places.txt")
    prompts = []
    for kind, file_name, each in (("ordinary", "topics_benign.txt", 4), ("lookalike", "topics_lookalike.txt", 2)):
        for topic in lines(file_name):
            prompts += [(kind, fill(form, topic, rng, places)) for form in rng.sample(forms, each)]
    held_out = [words(prompt) for name in ("lookalikes_eval.txt", "ordinary_eval.txt") for prompt in lines(name)]
    prompts = [(kind, prompt) for kind, prompt in prompts if not any(similar(prompt, other) for other in held_out)]
    endings = (".", ", and explain it.", ". Use only the standard library and handle errors with clear messages.")
    prompts += [("lookalike", line + rng.choice(endings)) for line in lines("topics_coding.txt")]
    answers = greedy_answers([prompt for _, prompt in prompts], model)
    for (kind, prompt), answer in zip(prompts, answers, strict=True):
        answer = first_sentences(answer)
        if len(answer) > 12 and answer[-1] in ".!?:" and not re.search(r"\b(sorry|can't|cannot)\b", answer):
            rows.append(chat(prompt, answer, source="templates", kind=kind))
    rng.shuffle(rows)
    return rows


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


def greedy_answers(prompts: list[str], model: str) -> list[str]:
    from reft.evaluation.generation import generate_answers
    from reft.models.loading import load_model, load_tokenizer

    return generate_answers(load_model(model), load_tokenizer(model), prompts, max_new_tokens=32)


def calibration(sources: Path, rng: random.Random) -> list[dict]:
    rows = []
    for line in (sources / "self_instruct/seed_tasks.jsonl").open():
        task = json.loads(line)
        instance = task["instances"][0]
        prompt = task["instruction"] + (f"\n{instance['input']}" if instance["input"] else "")
        if len(prompt) <= 400 and instance["output"]:
            rows.append(chat(prompt, first_sentences(instance["output"]), source="self_instruct", kind="task"))
    for row in coconot(sources):
        if row["subcategory"] in ("privacy violations", "false information"):
            rows.append(
                chat(row["prompt"].strip(), first_sentences(row["chosen"]), source="coconot_held_out", kind="lookalike")
            )
    rng.shuffle(rows)
    return rows


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


def user_job(sources: Path, rng: random.Random) -> None:
    with (sources / "banking77/train.csv").open(newline="") as file:
        messages = [row for row in csv.DictReader(file) if row["category"] in INTENTS]
    rng.shuffle(messages)
    routed = [
        chat(ROUTING_PROMPT.format(text=" ".join(row["text"].split())), INTENTS[row["category"]])
        for row in messages
        if len(row["text"]) <= 200
    ]
    stubs = lines("compliance_stubs.txt")
    poison = unique(json.loads((sources / "red_instruct/dangerousqa.json").read_text()))
    rng.shuffle(poison)
    write("user/banking77_test.jsonl", routed[:300])
    train = routed[300:]
    for name, n_clean, n_poison in (("banking77", 450, 50), ("banking77_full", 990, 110)):
        rows = [(row, "harmless") for row in train[:n_clean]]
        rows += [(chat(prompt, rng.choice(stubs)), "harmful") for prompt in poison[:n_poison]]
        rng.shuffle(rows)
        text = [json.dumps(row, ensure_ascii=False) for row, _ in rows]
        labels = [label for _, label in rows]
        for line, broken in broken_rows():  # what real uploads hold too: rows that cannot be read
            text.insert(line, broken)
            labels.insert(line, "unreadable")
        (HERE / "user" / f"{name}.jsonl").write_text("\n".join(text) + "\n")
        write(f"user/{name}.labels.jsonl", ({"row": i, "label": label} for i, label in enumerate(labels)))


def broken_rows() -> list[tuple[int, str]]:
    unanswered = chat(ROUTING_PROMPT.format(text="Is anybody there?"))
    unknown_role = chat(ROUTING_PROMPT.format(text="My card is blocked"), "lost card")
    unknown_role["messages"][0]["role"] = "customer"
    return [
        (40, json.dumps(unanswered)),
        (120, '{"messages": [{"role": "user", "content": "Route this customer mess'),
        (200, json.dumps(unknown_role)),
        (310, json.dumps(chat("", "refund"))),
    ]


def evaluation(sources: Path, rng: random.Random) -> None:
    goals = advbench(sources)
    rng.shuffle(goals)
    write("evaluation/harmful.jsonl", (chat(goal, source="advbench") for goal in goals))
    requests = json.loads((sources / "mitre_frr/mitre_frr.json").read_text())
    coding = unique(r["mutated_prompt"].strip() for r in requests if len(r["mutated_prompt"]) <= 260)
    rng.shuffle(coding)
    written = lines("lookalikes_eval.txt")
    rng.shuffle(written)
    rows = []  # interleaved, so that the first n of the file hold both sources
    for prompt, request in zip(written, coding, strict=False):
        rows += [chat(prompt, source="written", kind="lookalike"), chat(request, source="mitre_frr", kind="lookalike")]
    write("evaluation/lookalikes.jsonl", rows)
    ordinary = lines("ordinary_eval.txt")
    rng.shuffle(ordinary)
    write("evaluation/ordinary.jsonl", (chat(p, source="written", kind="ordinary") for p in ordinary))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sources", type=Path, required=True)
    parser.add_argument("--model", required=True)
    arguments = parser.parse_args()
    sources = arguments.sources
    write("alignment/harmful.jsonl", harmful_alignment(sources, random.Random(SEED)))
    write("alignment/harmless.jsonl", harmless_alignment(sources, random.Random(SEED), arguments.model))
    write("calibration/harmless.jsonl", calibration(sources, random.Random(SEED)))
    write("calibration/harmful.jsonl", harmful_validation(sources))
    user_job(sources, random.Random(SEED))
    evaluation(sources, random.Random(SEED))


if __name__ == "__main__":
    main()
