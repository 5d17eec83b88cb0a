"""The filter on poisoned sets that others made, against their labels: `python -m benchmarks.mixes FOLDER`.

With the last run's teacher and the default thresholds (make run first). Each set is taken whole, with its own
template around the instructions taken off, prompts and answers scored as a customer's rows are. Writes
`results/mixes.md`. What a set calls harmless was not checked by anybody.
"""

import argparse
import json
from pathlib import Path

from benchmarks.record import RESULTS
from reft.config import Settings
from reft.conversations.schema import Conversation, Message
from reft.filtering.decisions import Decision, measured
from reft.filtering.filter import Filter
from reft.filtering.inputs import DEFAULT_TEACHER, read_inputs
from reft.filtering.scorers import load_scorer
from reft.report.summary import percent
from reft.runtime.progress import progress

BEAVERTAILS = "beavertails_mix/sst2_train_merged_n1000_p0.2.json"
ALPACA = "asft_alpaca_mix/alpaca_2.5k_p_0.1.json"


def labelled(folder: Path, name: str) -> tuple[list[Conversation], dict[int, str]]:
    """The set's rows and which of them it calls harmful."""
    rows, labels = [], {}
    for number, value in enumerate(json.loads((folder / name).read_text())):
        asked = value["instruction"].split("### Instruction:\n")[-1].split("\n\n### Response:")[0]
        asked = asked.removesuffix("Assistant:").strip()
        text = f"{asked}\n\n{value['input']}" if value.get("input") else asked
        turns = (Message(role="user", content=text), Message(role="assistant", content=value["output"]))
        rows.append(Conversation(row=number, messages=turns))
        harmful = value["flag"] == "unsafe" if "flag" in value else "input" not in value
        labels[number] = "harmful" if harmful else "harmless"
    return rows, labels


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="the public sets")
    folder, settings = parser.parse_args().folder, Settings().filtering
    chosen = Filter.calibrated(load_scorer(settings.scorer, read_inputs(DEFAULT_TEACHER)), settings)
    lines = ["| set | harmful rows | AUROC | recall | false positives |", "| --- | --- | --- | --- | --- |"]
    for name in (BEAVERTAILS, ALPACA):
        rows, labels = labelled(folder, name)
        show, decisions = progress(name), list[Decision]()
        for start in range(0, len(rows), 250):
            decisions += chosen.judge(rows[start : start + 250])[1]
            show(len(decisions), len(rows))
        auroc, recall, fpr = measured(decisions, labels)
        harmful = sum(label == "harmful" for label in labels.values())
        cells = [f"{harmful} of {len(rows)}", f"{auroc:.3f}", percent(vars(recall)), percent(vars(fpr))]
        lines.append(f"| {name.split('/')[0]} | {' | '.join(cells)} |")
        print(lines[-1], flush=True)
    (RESULTS / "mixes.md").write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
