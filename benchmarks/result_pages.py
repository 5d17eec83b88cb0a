"""Fills the tables of `docs/results` from the records in `benchmarks/results`, and says which are stale.

    .venv/bin/python -m benchmarks.result_pages            # fills what is stale
    .venv/bin/python -m benchmarks.result_pages --check    # only says so; exits with 1 where something is

A table stands between `<!-- filled NAME -->` and `<!-- end -->`; NAME is one of `benchmarks.result_tables.TABLES`.
Filling adds to the first line the digests of the record and of the table, so that a check needs no table made anew.
"""

import argparse
import hashlib
import re
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[1]
PAGES = ROOT / "docs/results"
RESULTS = ROOT / "benchmarks/results"
MARKED = re.compile(
    r"<!-- filled (?P<name>\S+)(?: from (?P<file>\S+) (?P<digests>\w+ \w+))? -->\n(?P<body>.*?)<!-- end -->", re.S
)


def digest(content: bytes) -> str:
    """Enough of a SHA-256 to know content by."""
    return hashlib.sha256(content).hexdigest()[:16]


def stale(page: str) -> Iterator[str]:
    """What is to be filled anew in a page's text: names of tables, with the reason."""
    for found in MARKED.finditer(page):
        if not found["file"]:
            yield f"{found['name']}: not filled yet"
        elif found["digests"] != f"{digest((ROOT / found['file']).read_bytes())} {digest(found['body'].encode())}":
            yield f"{found['name']}: {found['file']} or the table has changed since it was filled"


def filled(page: str, *, anew: bool = False) -> str:
    """The page's text with every stale table made from its record; `anew`: every one that is not slow to make.

    Raises:
        SystemExit: a marker names no table.
    """
    from benchmarks.result_tables import TABLES  # with torch, which a check does not need

    def fill(found: re.Match[str]) -> str:
        if found["name"] not in TABLES:
            raise SystemExit(f"no table {found['name']}: there are {', '.join(TABLES)}")
        table = TABLES[found["name"]]
        if not any(stale(found[0])) and (table.slow or not anew):
            return found[0]
        record = RESULTS / table.file
        name = record.relative_to(ROOT)
        writes = f"`{table.copied_from}`, kept as `{name}`" if table.copied_from else f"`{name}`"
        body = f"\n{table.make(record)}\n\n`{table.command}` writes {writes}.\n\n"
        digests = f"{digest(record.read_bytes())} {digest(body.encode())}"
        return f"<!-- filled {found['name']} from {record.relative_to(ROOT)} {digests} -->\n{body}<!-- end -->"

    return MARKED.sub(fill, page)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="change nothing; exit with 1 where a table is stale")
    check = parser.parse_args().check
    found = 0
    for path in sorted(PAGES.glob("*.md")):
        text = path.read_text()
        reasons = list(stale(text))
        found += len(reasons)
        for reason in reasons:
            print(f"{path.relative_to(ROOT)}: {reason}")
        if reasons and not check:
            path.write_text(filled(text))
    if check and found:
        raise SystemExit("fill them: .venv/bin/python -m benchmarks.result_pages")


if __name__ == "__main__":
    main()
