#!/usr/bin/env bash
# PyTorch: on a CPU a frozen linear layer takes many times as long as a trained one for the same view of a batch.
#
# Expected: `requires_grad` of a weight changes nothing in a forward pass that records no gradients. Found: where the
# input is a view that is not contiguous, [batch, 1, hidden] as the last token's states of [batch, tokens, hidden], a
# weight that requires gradients is multiplied once with all rows, and a frozen one is copied for every row of the batch:
# here 64 copies of 36 MB. Generation of transformers passes such a view to the head after each prompt, so that a model
# with merged or frozen weights answers more slowly, and in gigabytes, than the same model as it was loaded.
#
# Seen with torch 2.13.0, two cores:
#   same values: True
#   the frozen weight takes 276 times as long, and 2309 MB more
#   contiguous input: 1.1 times as long
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q "torch==2.13.0" "numpy"
cd "$folder"
cat > try.py <<'PYTHON'
import resource
import sys
import time

import torch
from torch import nn

BATCH, TOKENS, HIDDEN, WORDS = 64, 40, 576, 32768


def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024


@torch.inference_mode()
def seconds(layer, states):
    layer(states)
    begun = time.perf_counter()
    for _ in range(3):
        layer(states)
    return (time.perf_counter() - begun) / 3


print("torch", torch.__version__)
torch.manual_seed(0)
layer = nn.Linear(HIDDEN, WORDS, bias=False, dtype=torch.bfloat16)
view = torch.randn(BATCH, TOKENS, HIDDEN, dtype=torch.bfloat16)[:, -1:, :]
with torch.inference_mode():
    wanted = layer(view)
trained, before = seconds(layer, view), peak()
layer.requires_grad_(False)
frozen, after = seconds(layer, view), peak()
copied = seconds(layer, view.contiguous())
with torch.inference_mode():
    same = torch.allclose(layer(view).float(), wanted.float(), atol=0.05)
print("same values:", same)
print(f"the frozen weight takes {frozen / trained:.0f} times as long, and {after - before} MB more")
print(f"contiguous input: {copied / trained:.1f} times as long")
if after - before < 1000 or frozen < 3 * trained:
    sys.exit("changed: a frozen weight is multiplied like a trained one")
PYTHON
"$folder/venv/bin/python" try.py
