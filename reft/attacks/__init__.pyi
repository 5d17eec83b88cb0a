from .adaptive import adaptive_suffixes as adaptive_suffixes
from .disguises import disguise as disguise
from .measure import AttackResult as AttackResult
from .measure import measure_attacks as measure_attacks
