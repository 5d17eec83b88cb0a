#!/usr/bin/env bash
# DeepSpeed: `save_checkpoint(exclude_frozen_parameters=True)` keeps a frozen head that is tied to the embedding.
#
# Expected: the saved module state names only what trains. Found: names are dropped as `named_parameters()` gives them,
# which names a shared parameter once; `state_dict()` names it twice, and the second name stays.
#
# Seen with deepspeed 0.19.8, torch 2.13.0:
#   trainable: ['adapter.weight']
#   saved:     ['adapter.weight', 'lm_head.weight']
#   found: the frozen, tied lm_head.weight is in the checkpoint
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q "torch==2.13.0" "deepspeed==0.19.8" "numpy" "setuptools"
cd "$folder"
cat > try.py <<'PYTHON'
import os
import sys

os.environ.update(RANK="0", LOCAL_RANK="0", WORLD_SIZE="1", MASTER_ADDR="127.0.0.1", MASTER_PORT="29611")
import deepspeed
import torch
from torch import nn


class Tied(nn.Module):
    def __init__(self):
        super().__init__()
        self.embedding = nn.Embedding(10, 4)
        self.adapter = nn.Linear(4, 4, bias=False)
        self.lm_head = nn.Linear(4, 10, bias=False)
        self.lm_head.weight = self.embedding.weight
        self.embedding.weight.requires_grad_(False)

    def forward(self, tokens):
        return self.lm_head(self.adapter(self.embedding(tokens)))


print("deepspeed", deepspeed.__version__, "torch", torch.__version__)
deepspeed.init_distributed(dist_backend="gloo")
model = Tied()
trainable = [name for name, p in model.named_parameters() if p.requires_grad]
engine, *_ = deepspeed.initialize(
    model=model,
    model_parameters=[p for p in model.parameters() if p.requires_grad],
    config={
        "train_micro_batch_size_per_gpu": 1,
        "optimizer": {"type": "AdamW", "params": {"lr": 0.1, "torch_adam": True}},
        "zero_force_ds_cpu_optimizer": False,
    },
)
engine.save_checkpoint("saved", "one", exclude_frozen_parameters=True)
saved = torch.load("saved/one/mp_rank_00_model_states.pt", weights_only=False)["module"]
print("trainable:", trainable)
print("saved:    ", sorted(saved))
if sorted(saved) == sorted(trainable):
    sys.exit("changed: the checkpoint holds what trains alone")
assert sorted(saved) == ["adapter.weight", "lm_head.weight"], saved
print("found: the frozen, tied lm_head.weight is in the checkpoint")
PYTHON
DS_ACCELERATOR=cpu "$folder/venv/bin/python" try.py
