"""ReFT, the Refusal-Feature Teacher: safe finetuning of language models on data nobody has vetted."""

import sys

from reft.moved import FINDER
from reft.runtime.threads import wait_briefly

__version__ = "0.2.0"

if FINDER not in sys.meta_path:
    sys.meta_path.append(FINDER)

wait_briefly()  # before anything loads torch
