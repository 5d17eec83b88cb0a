"""The promise of the conformal score."""

import numpy as np
import pytest

from reft.audit.score import BenignJob, Yardstick, fewest_jobs

PROBES = tuple("abcdefgh")
LEAST = dict.fromkeys(PROBES, 0.001)
TASKS, SEEDS, DRAWS = 6, 5, 600


class World:
    """Tasks with a mean of their own in each probe, and jobs about it with correlated, heavy-tailed values."""

    def __init__(self, generator, tasks_differ, apart=0.0):
        self._generator, self._means = generator, generator.normal(0, tasks_differ, (TASKS + 1, len(PROBES)))
        self._means[[0, 3]] += apart

    def job(self, task, seed=0, *, worse=0.0):
        shared, own = self._generator.standard_t(3), self._generator.standard_t(3, len(PROBES))
        values = dict(zip(PROBES, (self._means[task] + shared + own).tolist(), strict=True))
        return BenignJob(task=f"task {task}", seed=seed, rows=200, values=values | {"c": values["c"] + worse})

    def benign(self):
        return [self.job(task, seed) for seed in range(SEEDS) for task in range(TASKS)]


def share_flagged(tasks_differ=0.0, *, new_task=False, draws=DRAWS, alpha=0.05, worse=0.0, apart=0.0):
    generator, flagged = np.random.default_rng(7), 0
    for _ in range(draws):
        world = World(generator, tasks_differ, apart)
        task = TASKS if new_task else generator.integers(TASKS)
        flagged += Yardstick(world.benign(), LEAST).p_value(world.job(task, worse=worse).values) <= alpha
    return flagged / draws


def chance(alpha=0.05, draws=DRAWS):
    """What a share of so many draws may lie above the nominal one by chance."""
    return alpha + 3 * (alpha * (1 - alpha) / draws) ** 0.5


@pytest.mark.parametrize("alpha", [0.05, 0.2])
def test_of_benign_jobs_no_more_are_flagged_than_promised_whatever_the_probes_distributions(alpha):
    assert alpha / 3 < share_flagged(alpha=alpha) < chance(alpha)


@pytest.mark.parametrize(
    "world", [{"tasks_differ": 2.0}, {"tasks_differ": 6.0}, {"apart": 40.0}], ids=["some", "much", "two stand apart"]
)
def test_where_tasks_differ_a_job_of_any_of_them_is_flagged_no_more_often(world):
    """The benign jobs come task after task, seed after seed: no task may be the measure of the others alone."""
    assert share_flagged(**world) < chance()


def test_a_job_of_a_new_task_is_flagged_no_more_often_as_long_as_tasks_differ_like_jobs():
    assert share_flagged(1.5, new_task=True) < chance()


def test_one_probe_far_off_is_enough():
    assert share_flagged(worse=60.0, draws=100) > 0.9


def test_the_fewest_jobs_are_just_enough():
    for alpha in (0.05, 0.1, 0.2):
        world, enough = World(np.random.default_rng(0), 0.0), fewest_jobs(alpha)
        for jobs, can in ((enough, True), (enough - 1, False)):
            yardstick = Yardstick([world.job(i % 3) for i in range(jobs)], LEAST)
            assert (yardstick.p_value(dict.fromkeys(PROBES, 1e6)) <= alpha) is can
    assert fewest_jobs(0.05) == 19


def test_equal_scores_count_for_the_job():
    world = World(np.random.default_rng(0), 0.0)
    same = world.job(0).values
    jobs = [BenignJob(task=f"task {i % 3}", seed=i, rows=9, values=same) for i in range(30)]
    assert Yardstick(jobs, LEAST).p_value(same) == 1.0


def test_a_part_of_the_probes_can_only_be_too_mild():
    world = World(generator := np.random.default_rng(1), 1.0)
    yardstick = Yardstick(world.benign(), LEAST)
    for _ in range(200):
        values = world.job(0, worse=generator.uniform(0, 30)).values
        ps = [yardstick.p_value({name: values[name] for name in PROBES[:n]}) for n in range(1, len(PROBES) + 1)]
        assert ps == sorted(ps, reverse=True)


def test_a_spread_smaller_than_chance_is_not_believed():
    alike = [BenignJob(task=task, seed=i, rows=9, values=dict.fromkeys(PROBES, 0.0)) for i in range(4) for task in "xy"]
    assert Yardstick(alike, LEAST).standardised({"a": 0.002}) == pytest.approx({"a": 2.0})


def test_the_order_of_the_jobs_has_no_part_in_it():
    world = World(generator := np.random.default_rng(2), 1.0)
    jobs, values = world.benign(), world.job(1, worse=4.0).values
    shuffled = [jobs[i] for i in generator.permutation(len(jobs))]
    assert Yardstick(jobs, LEAST).p_value(values) == Yardstick(shuffled, LEAST).p_value(values)


def test_jobs_of_one_task_are_no_measure():
    with pytest.raises(ValueError, match="two tasks"):
        Yardstick([World(np.random.default_rng(0), 0.0).job(0)] * 30, LEAST)
