"""The finetuning service that OpenAI's SDK drives: files, jobs, models, keys, review.

It holds no method: a job is a run of the pipeline, started outside the HTTP process. All state lies in the database and
in the files that it names, so that whatever is killed is started again and goes on.
"""

from lazy_loader import attach_stub

# Names load their module when they are first asked for: the command line starts without a web framework.
__getattr__, __dir__, __all__ = attach_stub(__name__, __file__)
