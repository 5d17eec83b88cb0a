"""What is made ready while processes share a file: nothing runs beside them before they are forked."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.factories import row, write_jsonl

ROOT = Path(__file__).parents[2]
RUN = """
import multiprocessing, sys, threading
from pathlib import Path
from reft.config import ValidationSettings
from reft.conversations import languages
from reft.models.tokenizers import load_tokenizer
from reft.validation import sorting
from reft.validation.rows import Judge
from reft.validation.workers import Work, sorted_shards

sorting.SHARD_BYTES, sorting.BLOCK = 4_000, 1_000
file, folder, there = Path(sys.argv[2]), Path(sys.argv[3]), int(sys.argv[4])
judge = Judge(tokenizer=load_tokenizer(sys.argv[1]), settings=ValidationSettings(languages=["en"]), max_length=60)
rules = sorting.Rules(judge=judge, columns=None, fix=False)
shards = sorting.shards_of(file, judge.settings)
for shard in shards[:there]:
    sorting.sort_shard(file, shard, rules, folder=folder / f"{shard.number:06d}", most_bad=10**9)
languages._identifier.cache_clear()
told = []
meanwhile = lambda: told.append((len(multiprocessing.active_children()), threading.current_thread() is not main))
main = threading.current_thread()
work = Work(file=file, rules=rules, folder=folder, processes=2, meanwhile=meanwhile)
with sorted_shards(work, shards, 10**9) as done:
    order = [shard.number for shard, _ in done]
print(len(shards) > 8, order == sorted(order), told, languages._identifier.cache_info().currsize)
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere nothing is forked")
@pytest.mark.parametrize("there", [0, 6])
def test_a_thread_begins_once_all_processes_are_forked_and_they_share_the_classifier(tmp_path, tiny_model, there):
    rows = write_jsonl(tmp_path / "rows.jsonl", [row(f"what is question {i}", f"answer {i}") for i in range(600)])
    (tmp_path / "shards").mkdir()
    command = [sys.executable, "-c", RUN, str(tiny_model), str(rows), str(tmp_path / "shards"), str(there)]
    environment = os.environ | {"HF_HUB_OFFLINE": "1", "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.split("\n")[-2] == "True True [(2, True)] 1"
