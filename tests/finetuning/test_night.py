"""However a finetuning ends, nothing stays but results, and what was cut off goes on as if nothing had been."""

import signal
from dataclasses import replace

import pytest

from reft.finetuning.artifact import epochs_in
from tests.factories import change
from tests.finetuning.night import Night, wait_for


@pytest.mark.slow
@pytest.mark.night
def test_killed_with_all_signals_against_it_and_started_again_it_is_the_same_training(long, undisturbed, tmp_path):
    night, long = Night(tmp_path), change(long, kept_epochs=40)
    process = night.start(long)
    wait_for(lambda: night.steps() >= 5)
    process.kill()
    process.communicate()
    wait_for(lambda: not night.processes(), seconds=15)
    assert not (tmp_path / "result").exists()
    assert "error" not in night.run(long)
    assert (night.left(), night.processes()) == ([], [])
    assert night.result() == undisturbed  # to keep the states between changes nothing
    assert list(epochs_in(tmp_path)) == [3 * epoch for epoch in range(1, 40)]
    assert all((state / "tokenizer.json").is_file() for state in epochs_in(tmp_path).values())


@pytest.mark.slow
@pytest.mark.night
@pytest.mark.parametrize("ending", [signal.SIGTERM, signal.SIGINT])
def test_told_to_end_it_leaves_its_checkpoint_alone(long, undisturbed, tmp_path, ending):
    night = Night(tmp_path)
    process = night.start(long)
    wait_for(lambda: night.steps() >= 4)
    process.send_signal(ending)
    process.communicate(timeout=60)
    assert (night.left(), night.processes()) == ([], [])
    assert list((tmp_path / "work").glob("*/checkpoints/newest.json"))
    night.run(long)
    assert night.result() == undisturbed


@pytest.mark.slow
@pytest.mark.night
def test_a_failure_leaves_nothing_but_what_tells_of_it(long, tmp_path):
    night = Night(tmp_path)
    said = night.run(change(replace(long, alignment=long.alignment * 2), alignment_ratio=3.0))
    assert "finetuning failed on rank 0" in said
    assert (night.left(), night.processes()) == ([], [])
    assert list((tmp_path / "work").glob("*/error-0.json"))


@pytest.mark.slow
@pytest.mark.night
def test_killed_while_deepspeed_compiles_it_goes_through_at_the_next_start(long, tmp_path):
    """Its compilers end with it, and so does their lock."""
    long = change(long, processes=2, epochs=4)
    night = Night(tmp_path, {"TORCH_EXTENSIONS_DIR": str(tmp_path / "extensions")})
    process = night.start(long)
    wait_for(lambda: any("cc1plus" in p.name() for p in night.processes()))
    assert list((tmp_path / "extensions").glob("*/lock"))
    process.kill()
    process.communicate()
    wait_for(lambda: not night.processes(), seconds=15)
    # A rank that outlives its compilers for a moment takes the lock away itself; tests/finetuning/test_compiling.py has
    # the lock that stays.
    assert "compiling deepspeed_shm_comm, once" in night.run(long)
    assert (night.left(), night.processes()) == ([], [])
    losses, _ = night.result()
    assert len(losses) > 0
