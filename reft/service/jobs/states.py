"""What a job can be: the protocol's six statuses, and the stages that say what is really going on."""

VALIDATING, QUEUED, RUNNING = "validating_files", "queued", "running"
SUCCEEDED, FAILED, CANCELLED = "succeeded", "failed", "cancelled"
UNFINISHED = (VALIDATING, QUEUED, RUNNING)
FINISHED = (SUCCEEDED, FAILED, CANCELLED)
SERVER_ERROR = "server_error"  # the code of an error that is no fault of the job's

# Stages (`Job.stage`); the runner sets those of a run, by the names of the pipeline's own steps.
CHECKING, WAITING, SCREENING, TRAINING, JUDGING = "checking_files", "waiting", "screening", "training", "evaluation"
REVIEW, PAUSING, PAUSED, DONE = "waiting_for_review", "pausing", "paused", "done"
# What no status says: shown in `metadata`, beside what the customer put there.
TOLD = (SCREENING, REVIEW, PAUSING, PAUSED)
STAGE_KEY = "reft_stage"

# What is asked of whoever runs the job (`Job.wanted`).
RUN, PAUSE, CANCEL = "run", "pause", "cancel"
