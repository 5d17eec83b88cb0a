"""Does the alarm about cipher sets go off for ciphers, and stay silent for honest sets of any form?

    .venv/bin/python -m benchmarks.ciphers             # about five minutes
    .venv/bin/python -m benchmarks.ciphers FOLDER      # and the public sets, as they are

Sets of 500 rows: 2 %, 20 % or all of them in a cipher (prompts alone, or answers too) or of an honest kind, the others
routing or alignment rows in turns. Kinds that were "seen" are those whose statistics were looked at while signs and
thresholds were chosen; the "later" ones were written down when all of that was fixed. After a first run two bounds of
the sign of codebooks were made narrower for the seen honest kinds' sake; no later set came out otherwise. Prints a
table, and writes a line for every kind and share to `results/ciphers.jsonl`.
"""

import argparse
import json
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from benchmarks.cipher_sets import ENCODINGS, cipher_set
from benchmarks.honest_sets import honest_set, makers, shipped
from benchmarks.record import RESULTS
from benchmarks.unseen_ciphers import UNSEEN_ENCODINGS, UNSEEN_MAKERS
from reft.conversations.reading import read_conversations
from reft.conversations.schema import Conversation
from reft.filtering.ciphers import cipher_alarms
from reft.statistics import rate

SHARES = (0.02, 0.2, 1.0)
PUBLIC = (
    "code_alpaca/code_alpaca_2k.json",
    "alpaca_demo/alpaca_en_demo.json",
    "ag_news/agnews_1k_instructions.json",
    "dolly/databricks_dolly_1000.csv",
    "gsm8k/train.jsonl",
)
Line = dict[str, Any]


def judged(described: Line, sets: Sequence[Sequence[Conversation]]) -> Line:
    """How many of the sets raise an alarm, which ones, and how fast."""
    started, alarms = time.perf_counter(), [cipher_alarms(rows) for rows in sets]
    speed = sum(map(len, sets)) / (time.perf_counter() - started)
    said = sorted({alarm.split(": a cipher?")[0].split("looked at ")[1] for found in alarms for alarm in found})
    return {**described, "alarmed": sum(map(bool, alarms)), "sets": len(sets), "rows_a_second": speed, "said": said}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", nargs="?", type=Path, help="of public sets")
    parser.add_argument("--seeds", type=int, default=3)
    options = parser.parse_args()
    backgrounds = [shipped()["routing labels"], [row for row in shipped()["alignment rows"] if row.answer]]

    def sets(make: Callable[..., list[Conversation]], share: float) -> list[list[Conversation]]:
        return [make(backgrounds[seed % 2], share=share, seed=seed) for seed in range(options.seeds)]

    lines: list[Line] = []
    for chosen, encodings in (("seen", ENCODINGS), ("later", UNSEEN_ENCODINGS)):
        for name, encoding in encodings.items():
            for answers in (False, True):
                for share in SHARES:
                    described = {"cipher": name, "chosen": chosen, "answers": answers, "share": share}
                    made = sets(lambda b, e=encoding, a=answers, **given: cipher_set(e, b, answers=a, **given), share)
                    lines.append(_shown(judged(described, made)))
    for chosen, kinds in (("seen", makers()), ("later", UNSEEN_MAKERS)):
        for name, make in kinds.items():
            for share in SHARES:
                made = sets(lambda b, m=make, **given: honest_set(m, b, **given), share)
                lines.append(_shown(judged({"honest": name, "chosen": chosen, "share": share}, made)))
    for name, rows in shipped().items():
        lines.append(_shown(judged({"honest": name, "chosen": "seen", "share": 1.0}, [rows])))
    for name in PUBLIC if options.folder else ():
        rows = read_conversations(options.folder / name, 1000)
        lines.append(_shown(judged({"honest": name, "chosen": "later", "share": 1.0}, [rows])))
    (RESULTS / "ciphers.jsonl").write_text("".join(json.dumps(line) + "\n" for line in [*lines, *_totals(lines)]))


def _shown(line: Line) -> Line:
    kind = line.get("cipher") or f"honest: {line['honest']}"
    what = {True: "prompts and answers", False: "prompts", None: ""}[line.get("answers")]
    cells = [kind, line["chosen"], what, f"{line['share']:.0%}", f"{line['alarmed']} of {line['sets']}"]
    print(f"| {' | '.join(cells)} | {line['rows_a_second']:.0f} | {'; '.join(line['said'])} |", flush=True)
    return line


def _totals(lines: Sequence[Line]) -> list[Line]:
    """Rates by what was known while choosing, and by share, with their intervals over sets."""
    found = []
    for kind in ("cipher", "honest"):
        for chosen in ("seen", "later"):
            for share in SHARES:
                own = [x for x in lines if kind in x and x["chosen"] == chosen and x["share"] == share]
                hits = [i < line["alarmed"] for line in own for i in range(line["sets"])]
                if interval := rate(hits):
                    found.append({"all": kind, "chosen": chosen, "share": share, **asdict(interval)})
                    said = f"{interval.value:.1%} [{interval.low:.1%}, {interval.high:.1%}] of {interval.n}"
                    print(f"all {kind} sets, {chosen}, {share:.0%}: {said} raise an alarm")
    return found


if __name__ == "__main__":
    main()
