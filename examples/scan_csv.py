"""Scan a CSV from Python: python examples/scan_csv.py data.csv [TEACHER]"""

import sys
from pathlib import Path

from reft.config import FilteringSettings
from reft.filtering.inputs import read_inputs
from reft.filtering.scorers import load_scorer
from reft.scan.scan import scan_file

teacher = Path(sys.argv[2] if len(sys.argv) > 2 else "runs/latest/teacher")
scorer = load_scorer("refusal_feature", read_inputs(teacher))
settings = FilteringSettings(fpr=0.05, quarantine_fpr=0.1)  # shares of harmless rows: dropped, removed in all
result = scan_file(Path(sys.argv[1]), Path("scanned"), scorer, settings=settings)
print(result.counts if result else "another process has the result")
