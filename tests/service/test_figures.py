from reft.service.jobs.figures import costs_of, mean_of, metrics_of

LAST = {"step": 40, "steps": 40, "loss": 0.5, "ce": 0.4, "kl": 0.1}


def test_a_checkpoints_metrics_are_what_was_measured_and_nothing_else():
    assert metrics_of(LAST, []) == {"step": 40, "train_loss": 0.5}
    golden = [{"loss_before": 4.0, "loss_after": 1.0}, {"loss_before": None, "loss_after": None}, {"loss_after": 2.0}]
    assert metrics_of(LAST, golden) == {"step": 40, "train_loss": 0.5, "valid_loss": 1.5}
    assert metrics_of(LAST, [{"loss_after": None}]) == {"step": 40, "train_loss": 0.5}
    assert mean_of(golden[:2], "loss_before") == 4.0


def test_costs_are_of_the_jobs_own_stages():
    cost = {
        "validation": {"seconds": 1.04, "peak_rss_mb": 500.0, "tokens": 0},
        "teacher": {"seconds": 900.0, "peak_rss_mb": 9000.0, "tokens": 5},
        "finetuning": {"seconds": 60.0, "peak_rss_mb": 2000.04, "tokens": 5, "peak_gpu_mb": 10.0},
    }
    assert costs_of(cost) == {
        "seconds_of_validation": 1.0, "seconds_of_finetuning": 60.0, "peak_memory_in_MB": 2000.0,
        "peak_GPU_memory_in_MB": 10.0,
    }  # fmt: skip
    assert costs_of({}) == {}
