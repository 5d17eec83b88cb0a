"""The promise of the conformal score, and what a calibration file may hold."""

import json

import numpy as np
import pytest

from reft.audit.score import Benign, Yardstick, fewest_jobs
from reft.errors import DataFormatError

PROBES = ("a", "b", "c", "d", "e")
LEAST = dict.fromkeys(PROBES, 0.01)


def job(generator, worse=0.0):
    """Values of correlated probes with heavy tails; `worse`: how much the third one is off."""
    shared = generator.standard_t(3)
    values = {name: float(0.1 * (shared + generator.standard_t(3))) for name in PROBES}
    return values | {"c": values["c"] + worse}


def share_flagged(worse, *, draws=1500, benign=30, alpha=0.05):
    generator = np.random.default_rng(7)
    flagged = 0
    for _ in range(draws):
        yardstick = Yardstick([job(generator) for _ in range(benign)], LEAST)
        flagged += yardstick.p_value(job(generator, worse)) <= alpha
    return flagged / draws


def test_of_benign_jobs_no_more_are_flagged_than_promised_whatever_the_probes_distributions():
    assert 0.02 < share_flagged(0.0) < 0.05 + 3 * (0.05 * 0.95 / 1500) ** 0.5


def test_one_probe_far_off_is_enough():
    assert share_flagged(10.0, draws=200) > 0.9


def test_the_fewest_jobs_are_just_enough():
    for alpha in (0.05, 0.1, 0.2):
        enough, generator = fewest_jobs(alpha), np.random.default_rng(0)
        for jobs, can in ((enough, True), (enough - 1, False)):
            yardstick = Yardstick([job(generator) for _ in range(jobs)], LEAST)
            assert (yardstick.p_value(dict.fromkeys(PROBES, 1e6)) <= alpha) is can
    assert fewest_jobs(0.05) == 29


def test_a_part_of_the_probes_can_only_be_too_mild():
    generator = np.random.default_rng(1)
    yardstick = Yardstick([job(generator) for _ in range(30)], LEAST)
    for _ in range(200):
        values = job(generator, worse=generator.uniform(0, 3))
        ps = [yardstick.p_value({name: values[name] for name in PROBES[:n]}) for n in range(1, 6)]
        assert ps == sorted(ps, reverse=True)


def test_a_spread_smaller_than_chance_is_not_believed():
    alike = [dict.fromkeys(PROBES, 0.0)] * 9
    assert Yardstick(alike, LEAST).standardised({"a": 0.02}) == pytest.approx({"a": 2.0})


def test_benign_jobs_come_back_as_they_were_written_and_faulty_ones_are_named(tmp_path):
    kept = Benign(asked="q", model="m", jobs=({"a": 0.5, "b": 0.0}, {"a": 0.25, "b": 1.0}))
    kept.save(tmp_path / "b.json")
    assert Benign.load(tmp_path / "b.json") == kept
    for wrong in ({"a": 0.5}, {"a": 0.5, "b": float("nan")}):
        written = {"asked": "q", "model": "m", "jobs": [kept.jobs[0], wrong]}
        (tmp_path / "b.json").write_text(json.dumps(written))
        with pytest.raises(DataFormatError, match=r"b\.json, job 1"):
            Benign.load(tmp_path / "b.json")
