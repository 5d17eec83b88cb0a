"""How things are called: random ids, and the names of models."""

import re
import secrets
import string

ALPHABET = string.ascii_letters + string.digits
LENGTH = 24  # characters of 62: 142 bits, which nobody guesses
MODELS = "models"  # where models lie among the files
TEACHERS = "teachers"  # where teachers do
SLUG = re.compile(r"[^A-Za-z0-9_.-]+")


def new_id(prefix: str) -> str:
    """A random id, as `file-...`."""
    return prefix + "".join(secrets.choice(ALPHABET) for _ in range(LENGTH))


def model_name(base: str, organization: str, suffix: str | None, *, job: str) -> str:
    """`ft:BASE:ORGANIZATION:SUFFIX:ID`; without a suffix two colons follow one another, as OpenAI's do."""
    slug = SLUG.sub("-", suffix or "").strip("-.")
    return f"ft:{base}:{organization}:{slug}:{job.rsplit('-', 1)[-1]}"


def report_key(job: str) -> str:
    """Where the report of a job's run lies among the files; it goes when the training file goes."""
    return f"jobs/{job}/report.html"


def weights_key(job: str, step: int | None = None) -> str:
    """Where a job's model lies among the files; or what it was after so many steps."""
    return f"{MODELS}/{job}" if step is None else f"{MODELS}/{job}.step-{step}"


def checkpoint_name(model: str, step: int) -> str:
    """The name of a model as it was after so many steps."""
    return f"{model}:ckpt-step-{step}"
