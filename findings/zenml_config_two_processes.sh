#!/usr/bin/env bash
# ZenML: two processes that use one repository at the same time can stop each other with an AttributeError.
#
# Expected: whoever only asks for the client (`Client()`, as every `zenml` command and every run does first) reads the
# repository's configuration. Found: each client also writes `.zen/config.yaml` three times, in place, with nothing
# changed; a process that reads between another one's truncation and its write finds no content, takes that for None, and
# ends with an AttributeError. The client reads the file again whenever its time has changed, so that a run that has
# long begun can meet another one's start as well.
#
# Seen with zenml 0.98.0 (0.98.0 is the newest at the time), SQLite store, two cores:
#   writes by one client that changes nothing: 3, same content: True
#   of 2000 clients that two processes asked for at once, some failed: AttributeError
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q "zenml[local]==0.98.0"
cd "$folder"
export ZENML_CONFIG_PATH="$folder/configuration" ZENML_ANALYTICS_OPT_IN=false ZENML_LOGGING_VERBOSITY=ERROR
cat > try.py <<'PYTHON'
import multiprocessing
import time
from collections import Counter
from pathlib import Path

CLIENTS = 1000  # of each process


def ask(begin, failures):
    """What a new process does first, many times over."""
    from zenml.client import Client

    begin.wait()
    for _ in range(CLIENTS):
        try:
            Client._reset_instance()
            Client()
        except Exception as error:
            failures.put(f"{type(error).__name__}: {error}")


def failed(processes):
    """Errors of so many processes that ask at the same time."""
    context = multiprocessing.get_context("spawn")
    begin, failures = context.Barrier(processes), context.SimpleQueue()
    started = [context.Process(target=ask, args=(begin, failures)) for _ in range(processes)]
    for process in started:
        process.start()
    found = Counter()
    while any(process.is_alive() for process in started) or not failures.empty():
        while not failures.empty():
            found[failures.get()] += 1
        time.sleep(0.1)
    return found


if __name__ == "__main__":
    from zenml.client import Client
    from zenml.utils import yaml_utils

    Client.initialize(Path.cwd())
    Client()
    file = Path(".zen/config.yaml")
    before, writes, write = file.read_text(), [], yaml_utils.write_yaml

    def counted(path, *arguments, **options):
        writes.append(path)
        write(path, *arguments, **options)

    yaml_utils.write_yaml = counted
    Client._reset_instance()
    Client()
    count, same = len([path for path in writes if path.endswith(".zen/config.yaml")]), file.read_text() == before
    print(f"writes by one client that changes nothing: {count}, same content: {same}")

    alone, together = failed(1), failed(2)
    print(f"failed of {CLIENTS} clients of one process alone: {sum(alone.values())}")
    print(f"failed of {2 * CLIENTS} clients of two processes: {sum(together.values())}")
    for message, times in together.most_common():
        print(f"  {times} times {message}")
    assert count == 3 and same, "it writes less now"
    assert not alone, "one process is enough"
    assert any(message.startswith("AttributeError") for message in together), "none met a half-written file"
PYTHON
"$folder/venv/bin/python" try.py
