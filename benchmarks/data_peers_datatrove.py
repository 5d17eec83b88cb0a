"""datatrove's checks of `benchmarks.data_peers`, run by datatrove's own environment, which holds nothing of ours.

Reads what `benchmarks.data_peers.datatrove_given` wrote. Processes are forked, not served by datatrove's default
forkserver: that imports datatrove anew for each of the four stages, and nobody would see its processor time.
"""

import json
import sys
from collections.abc import Iterable
from functools import partial
from pathlib import Path
from typing import Any

from datatrove.data import Document
from datatrove.executor import LocalPipelineExecutor
from datatrove.pipeline.dedup import MinhashDedupBuckets, MinhashDedupCluster, MinhashDedupFilter, MinhashDedupSignature
from datatrove.pipeline.dedup.minhash import MinhashConfig
from datatrove.pipeline.filters import LambdaFilter, LanguageFilter
from datatrove.pipeline.formatters import PIIFormatter
from datatrove.pipeline.readers import JsonlReader
from datatrove.pipeline.tokens import TokensCounter
from datatrove.pipeline.writers.jsonl import JsonlWriter
from datatrove.utils.lid import FT176LID


def short_enough(document: Document, most: int) -> bool:
    """Whether it has no more tokens; `TokensCounter` has counted them."""
    return document.metadata["token_count"] <= most


def stages(given: dict[str, Any]) -> Iterable[tuple[list[Any], int]]:
    """Each pipeline with its number of tasks; one needs what the one before has written."""
    out, processes = Path(given["out"]), given["processes"]
    near = MinhashConfig(n_grams=given["run"], num_buckets=given["bands"], hashes_per_bucket=given["values"])
    passed, marks, pairs, repeats = (str(out / name) for name in ("passed", "marks", "pairs", "repeats"))
    FT176LID.MODEL_URL = given["language_model"]  # it copies from a path as it loads from an address
    checks = [
        *([PIIFormatter()] if given["personal_data"] else []),
        LanguageFilter(languages=["en"], language_threshold=given["sure"]),
        TokensCounter(given["tokenizer"]),
        LambdaFilter(partial(short_enough, most=given["max_length"])),
        JsonlWriter(passed, compression=None),
        MinhashDedupSignature(marks, config=near),
    ]
    yield [JsonlReader(given["rows"]), *checks], processes
    yield [MinhashDedupBuckets(marks, pairs, config=near)], near.num_buckets
    yield [MinhashDedupCluster(pairs, repeats, config=near)], 1
    kept = JsonlWriter(str(out / "kept"), compression=None)
    yield [JsonlReader(passed), MinhashDedupFilter(repeats), kept], processes


def main() -> None:
    given = json.loads(Path(sys.argv[1]).read_text())
    for number, (pipeline, tasks) in enumerate(stages(given)):
        LocalPipelineExecutor(
            pipeline,
            tasks=tasks,
            workers=min(tasks, given["processes"]),
            logging_dir=str(Path(given["out"]) / f"log{number}"),
            start_method="fork",
        ).run()


if __name__ == "__main__":
    main()
