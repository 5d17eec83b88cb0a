"""Where the results of a scan or a check may lie."""

import pytest

from reft.conversations.folders import require_apart
from reft.errors import ConfigurationError

RESULTS = ("kept", "decisions")


@pytest.mark.parametrize(
    ("data", "out"),
    [
        ("s3://bucket/rows", "s3://bucket/rows/scanned"),
        ("s3://bucket/rows/", "s3://bucket/rows"),
        ("s3://bucket", "s3://bucket/scanned"),
        ("s3://bucket/scanned/kept/rows-0.jsonl", "s3://bucket/scanned"),
        ("/data/rows", "/data/rows/scanned"),
        ("/data/scanned/kept.csv.gz", "/data/more/../scanned/"),
    ],
)
def test_results_among_the_rows_are_refused(data, out):
    with pytest.raises(ConfigurationError):
        require_apart(data, out, RESULTS)


@pytest.mark.parametrize(
    ("data", "out"),
    [
        ("s3://bucket/rows", "s3://bucket/rows-scanned"),
        ("s3://bucket/rows/file.jsonl", "s3://bucket/rows"),
        ("/data/rows", "s3://bucket/data/rows"),
        ("/data/rows.jsonl", "/data"),
        ("/data/kept.jsonl", "/data/scanned"),
        ("/data/scanned/rows/kept.jsonl", "/data/scanned"),
    ],
)
def test_results_beside_the_rows_are_not(data, out):
    require_apart(data, out, RESULTS)
