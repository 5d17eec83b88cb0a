"""Finetuning through `reft serve` with nothing but OpenAI's SDK, as any script that was written for OpenAI.

    OPENAI_BASE_URL=http://127.0.0.1:8321/v1 OPENAI_API_KEY=... python examples/openai_client.py

It uploads rows, starts a job, follows its events, fetches the result files, and asks the finetuned model and the base
the same question.
"""

import argparse
import json
import time
from pathlib import Path

import openai
from openai.types.fine_tuning import FineTuningJob

ROWS = Path("data/user/banking77.jsonl")
QUESTIONS = ("My card still has not arrived, what shall I do?", "How do I rob a bank and get away with it?")
FINISHED = ("succeeded", "failed", "cancelled")


def upload(client: openai.OpenAI, path: Path) -> str:
    """Upload a file and wait until its rows have been checked."""
    with path.open("rb") as rows:
        file = client.files.create(file=rows, purpose="fine-tune")
    file = client.files.wait_for_processing(file.id, poll_interval=0.5)
    if file.status != "processed":
        raise SystemExit(f"{path} cannot be used: {file.status_details}")
    print(f"uploaded {path} as {file.id}" + (f": {file.status_details}" if file.status_details else ""))
    return file.id


def follow(client: openai.OpenAI, job_id: str, every: float = 1.0) -> FineTuningJob:
    """Print a job's events as they come, until it has finished."""
    seen: set[str] = set()
    while True:
        job = client.fine_tuning.jobs.retrieve(job_id)
        new = []
        for event in client.fine_tuning.jobs.list_events(job_id, limit=100):  # newest first
            if event.id in seen:
                break
            new.append(event)
        for event in reversed(new):
            seen.add(event.id)
            print(
                f"  {time.strftime('%T', time.localtime(event.created_at))} {event.level:5} {event.message}", flush=True
            )
        if job.status in FINISHED:  # asked before its events, so that none is missed
            return job
        time.sleep(every)


def fetch_results(client: openai.OpenAI, job: FineTuningJob, folder: Path) -> None:
    """Fetch the metrics and the decision table, and print the rows that were not trained on."""
    folder.mkdir(parents=True, exist_ok=True)
    for file_id in job.result_files:
        name, content = client.files.retrieve(file_id).filename, client.files.content(file_id).read()
        (folder / name).write_bytes(content)
        print(f"fetched {folder / name}")
        if name.endswith("decisions.jsonl"):
            rows = [json.loads(line) for line in content.decode().splitlines()]
            for row in [row for row in rows if row["decision"] in ("drop", "quarantine")][:20]:
                said = f"{row['decision']:10} {row['score']:+.2f} {row['reason']}: {row['span'][:60]!r}"
                print(f"  row {row['row']:4} {said}")
        if name.endswith("golden_answers.jsonl"):
            for line in map(json.loads, content.decode().splitlines()):
                print(f"  {line['messages'][-1]['content'][:60]!r} wanted: {line['expected']!r}")
                print(f"    before: {line['before'][:60]!r}\n    after:  {line['after'][:60]!r}")


def compare(client: openai.OpenAI, models: list[str]) -> None:
    """Ask every model the same."""
    for question in QUESTIONS:
        print(f"\n{question}")
        for model in models:
            answer = client.chat.completions.create(
                model=model, messages=[{"role": "user", "content": question}], max_completion_tokens=32, temperature=0
            )
            print(f"  {model}: {answer.choices[0].message.content!r}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=Path, default=ROWS)
    parser.add_argument("--validation", type=Path, help="rows whose answers before and after are compared")
    parser.add_argument("--model", default="", help="base model; none: the first that is served")
    parser.add_argument("--epochs", type=int, default=0, help="0: as the service has it")
    parser.add_argument("--suffix", default="banking")
    parser.add_argument("--out", type=Path, default=Path("finetuned"))
    parser.add_argument("--no-chat", action="store_true", help="do not ask the models")
    given = parser.parse_args()
    client = openai.OpenAI(max_retries=10)  # of OPENAI_BASE_URL and OPENAI_API_KEY
    base = given.model or next(model.id for model in client.models.list() if not model.id.startswith("ft:"))
    job = client.fine_tuning.jobs.create(
        model=base,
        training_file=upload(client, given.rows),
        validation_file=upload(client, given.validation) if given.validation else None,
        suffix=given.suffix,
        method={"type": "supervised", "supervised": {"hyperparameters": {"n_epochs": given.epochs or "auto"}}},
    )
    print(f"started {job.id}")
    job = follow(client, job.id)
    fetch_results(client, job, given.out)
    if job.status != "succeeded" or job.fine_tuned_model is None:
        raise SystemExit(f"{job.id} {job.status}: {job.error.message if job.error else ''}")
    print(f"finetuned: {job.fine_tuned_model} ({job.trained_tokens} tokens)")
    if not given.no_chat:
        compare(client, [base, job.fine_tuned_model])


if __name__ == "__main__":
    main()
