from .closure import code_of as code_of
from .closure import digest_of_code as digest_of_code
from .stages import StageKey as StageKey
from .stages import stage_keys as stage_keys
