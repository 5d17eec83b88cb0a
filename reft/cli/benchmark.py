"""`reft benchmark ...`: measure the product on this machine."""

import warnings
from pathlib import Path
from typing import Annotated

import typer

from reft.cli.options import FPR, TEACHER
from reft.cli.scan import scorer_inputs

benchmark = typer.Typer(no_args_is_help=True, help="Measure the product on this machine.")


def add_to(app: typer.Typer) -> None:
    """Make the commands part of `reft`."""
    app.add_typer(benchmark, name="benchmark")


@benchmark.command()
def attacks(
    *,
    teacher: Annotated[str, TEACHER] = "",
    rows: Annotated[int, typer.Option(min=1, help="harmful prompts under each attack")] = 100,
    adaptive_rows: Annotated[
        int, typer.Option(min=1, help="harmful prompts of the adaptive attacks, the slow ones")
    ] = 20,
    fpr: Annotated[float, FPR] = 0.01,
    out: Annotated[Path | None, typer.Option(help="also write the results as JSON")] = None,
) -> None:
    """Disguise unseen harmful prompts in every way we know and count what the filter still removes."""
    from reft.attacks.measure import measure_attacks
    from reft.config import Settings, parse_settings
    from reft.conversations.reading import read_conversations
    from reft.filtering.scorers import load_scorer
    from reft.report.summary import percent
    from reft.runtime.progress import progress
    from reft.storage.artifacts import write_json

    data, settings = Settings().data, parse_settings({"filtering": {"fpr": fpr}}).filtering
    harmful = read_conversations(data.evaluation_harmful, rows)
    harmless = read_conversations(data.evaluation_ordinary)
    scorer = load_scorer(settings.scorer, scorer_inputs(teacher))
    results = measure_attacks(
        scorer, harmful, harmless, settings=settings, adaptive_rows=adaptive_rows, report=progress("attacking")
    )
    typer.echo(f"| attack ({scorer.name} feature) | removed | dropped |\n| --- | --- | --- |")
    for result in results:
        typer.echo(f"| {result.attack} | {percent(vars(result.removed))} | {percent(vars(result.dropped))} |")
    if out:
        write_json(out, {"scorer": scorer.name, "fpr": fpr, "attacks": results})


@benchmark.command()
def comparison(
    config: Annotated[Path, typer.Option(help="YAML of the grid")] = Path("configs/comparison/core.yaml"),
    out: Annotated[Path, typer.Option(help="where results go, and a stopped grid resumes")] = Path(".reft/comparison"),
    so_far: Annotated[bool, typer.Option("--so-far", help="train nothing: write the page of what is there")] = False,
) -> None:
    """Compare ReFT with other ways to finetune, on the same rows and seeds; hours on a laptop, resumable.

    Started more than once with the same folder, on one machine or several, the processes share the cells.
    """
    from reft.comparison.run import run_comparison

    run_comparison(config, out, so_far)
    typer.echo((out / "comparison.md").read_text())
    typer.echo(f"page: {out / 'comparison.html'}")


@benchmark.command()
def harness_tasks(
    out: Annotated[Path, typer.Option(help="folder of the tasks")] = Path(".reft/harness"),
    max_new_tokens: Annotated[int, typer.Option(min=1, help="tokens of an answer")] = 16,
) -> None:
    """Write our questions as tasks for EleutherAI's evaluation harness, judged by our own measures."""
    from reft.comparison.harness_tasks import harness_tasks as tasks_of
    from reft.comparison.harness_tasks import write_tasks
    from reft.config import Settings
    from reft.evaluation.questions import all_questions

    write_tasks(out, tasks_of(all_questions(Settings().data), max_new_tokens=max_new_tokens))
    typer.echo(
        f"lm_eval --include_path {out} --tasks reft --apply_chat_template --model hf --model_args pretrained=MODEL"
    )


@benchmark.command(hidden=True)
def evidence(
    config: Annotated[Path, typer.Option()] = Path("configs/comparison/core.yaml"),
    out: Annotated[Path, typer.Option()] = Path(".reft/comparison"),
    so_far: Annotated[bool, typer.Option("--so-far")] = False,
) -> None:
    """The old name of `comparison`."""
    warnings.warn("reft benchmark evidence is called reft benchmark comparison now", FutureWarning, 2)
    comparison(config, out, so_far)
