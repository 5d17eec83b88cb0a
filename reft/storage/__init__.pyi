from .artifacts import (
    Artifact as Artifact,
)
from .artifacts import (
    read_json as read_json,
)
from .artifacts import (
    scratch_folder as scratch_folder,
)
from .artifacts import (
    write_json as write_json,
)
from .artifacts import (
    write_text as write_text,
)
from .files import local_copy as local_copy
from .fingerprint import of_path as of_path
from .fingerprint import of_text as of_text
