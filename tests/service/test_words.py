from reft.errors import DataValidationError, TrainingError, explain
from reft.service.jobs.words import Failure, failure_of, seconds_left, stage_of, was_killed

RUN = """  validation begins, 9:35 left of the run
Step `teacher` has started.
  teacher begins, 8:06 left of the run
  finetuning begins, 1:03 left of the run
  finetuning (finetuning): 240/1200, 2:33 so far, about 0:40 left, 12:58 left of the run
"""


def last_words(error):
    return f"{RUN}error: {error}\n"


def test_where_a_run_is_and_how_long_it_takes():
    assert (stage_of(RUN), seconds_left(RUN)) == ("training", 778)
    assert (stage_of("  filtering begins, 1:09 left of the run"), seconds_left("")) == (None, None)
    assert stage_of(RUN + "  evaluation begins, 0:30 left of the run\n") == "evaluation"


def test_a_users_error_says_what_and_what_to_do_but_no_place_of_the_machine():
    what = "12 of 20 rows cannot be used (see /srv/state/jobs/x/rows.jsonl, s3://acme/rows)"
    error = DataValidationError(explain(what, "/srv/state/jobs/x/rows.jsonl", "correct the rows\nand send them again"))
    found = failure_of(f"  validation begins, 9:35 left of the run\nerror: {error}\n", trained=False)
    message = "12 of 20 rows cannot be used (see ..., ...); remedy: correct the rows and send them again"
    assert found == Failure("invalid_training_file", message)
    assert failure_of(last_words(error), trained=True).code == "training_failed"
    assert failure_of(f"  filtering begins, 0:01 left\nerror: {error}\n", trained=False).code == "screening_failed"


def test_what_was_not_meant_for_its_owner_stays_in_the_log():
    for said in ("Traceback (most recent call last):\n  File x\nKeyError: 'secret'\n", "", RUN):
        assert failure_of(said, trained=True).code == "server_error"
        assert "secret" not in failure_of(said, trained=True).message
    trace = TrainingError(explain("finetuning failed on rank 0:\nTraceback (most recent call last): secret", "x", "y"))
    assert failure_of(last_words(trace), trained=True).code == "server_error"


def test_what_was_killed_is_worth_another_start():
    assert was_killed(-9, "")
    assert was_killed(137, "")
    died = TrainingError(explain("a training process died (exit code -9):\n", "log", "again"))
    assert was_killed(1, last_words(died))
    assert not was_killed(1, last_words(DataValidationError(explain("bad rows", "x", "y"))))
