#!/usr/bin/env bash
# DeepSpeed: `engine.get_lr()` after `engine.step()` is the next step's rate; and the first step of `WarmupCosineLR` has
# the rate 0, whatever `warmup_min_ratio` says: its weights do not move.
#
# Seen with deepspeed 0.19.8, torch 2.13.0 (rate 0.1, warmup_min_ratio 0.5, two linear warm-up steps):
#   step 1: before 0.0, after 0.05, the weight moved by 0.0
#   step 2: before 0.05, after 0.075, the weight moved by 0.05
#   step 3: before 0.075, after 0.0962, the weight moved by 0.075
#   found: the rate after a step is not the one it used; the first step does nothing
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q "torch==2.13.0" "deepspeed==0.19.8" "numpy" "setuptools"
cd "$folder"
cat > try.py <<'PYTHON'
import os
import sys

os.environ.update(RANK="0", LOCAL_RANK="0", WORLD_SIZE="1", MASTER_ADDR="127.0.0.1", MASTER_PORT="29612")
import deepspeed
import torch
from torch import nn

print("deepspeed", deepspeed.__version__, "torch", torch.__version__)
deepspeed.init_distributed(dist_backend="gloo")
model = nn.Linear(1, 1, bias=False)
schedule = {"total_num_steps": 10, "warmup_num_steps": 2, "warmup_min_ratio": 0.5, "warmup_type": "linear"}
engine, *_ = deepspeed.initialize(
    model=model,
    model_parameters=list(model.parameters()),
    # Plain gradient descent on a gradient of 1: a weight moves by the rate that the step used.
    optimizer=torch.optim.SGD(model.parameters(), lr=0.1),
    config={"train_micro_batch_size_per_gpu": 1, "scheduler": {"type": "WarmupCosineLR", "params": schedule}},
)
after_is_used = []
for step in (1, 2, 3):
    weight, before = model.weight.item(), engine.get_lr()[0]
    engine.backward(engine(torch.ones(1, 1)).sum())
    engine.step()
    moved, after = round(weight - model.weight.item(), 4), engine.get_lr()[0]
    print(f"step {step}: before {round(before, 4)}, after {round(after, 4)}, the weight moved by {moved}")
    assert abs(moved - before) < 1e-3 or abs(moved - after) < 1e-3
    after_is_used.append(abs(moved - after) < 1e-3)
    if step == 1 and moved != 0.0:
        sys.exit("changed: the first step moves")
if any(after_is_used):
    sys.exit("changed: the rate after a step is the one it used")
print("found: the rate after a step is not the one it used; the first step does nothing")
PYTHON
DS_ACCELERATOR=cpu "$folder/venv/bin/python" try.py
