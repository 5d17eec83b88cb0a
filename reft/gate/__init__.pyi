from .gate import Case as Case
from .gate import Verdict as Verdict
from .gate import judge as judge
from .rule import Rule as Rule
