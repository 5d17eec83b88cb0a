from .gate import Case as Case
from .gate import Rule as Rule
from .gate import Verdict as Verdict
from .gate import judge as judge
