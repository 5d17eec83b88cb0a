"""What only a GPU can show, with one command: `python -m benchmarks.gpu`.

A model of random weights, since only speed is asked, and rows of random tokens, all of one length: plain and distilled
finetuning with ZeRO 0 and 3, TRL's trainer on the same rows, scoring, and the whole default run with the field's
evaluation. Every measurement is a process of its own and leaves a line in `results/gpu.jsonl`; those that are there
already are left out, so that a machine that is lent for minutes goes on where the last one ended. On a machine without
a network: `python -m benchmarks.gpu.carry FOLDER` puts together what has to be taken along.
"""
