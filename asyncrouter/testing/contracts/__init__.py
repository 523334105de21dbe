"""The contracts that plugins must keep, as test classes to inherit from.

Write ``class TestMine(SelectorContract)``, give it ``make``, and pytest runs every clause against your plugin.  A
clause is one test method: its docstring says what it demands, its failure says the cure.  The clauses are plain
functions that run in virtual time; no plugin of pytest's is needed.
"""

from asyncrouter.testing.contracts.estimator import EstimatorContract
from asyncrouter.testing.contracts.fallback import FallbackContract
from asyncrouter.testing.contracts.judge import JudgeContract
from asyncrouter.testing.contracts.plugin import PluginContract
from asyncrouter.testing.contracts.provider import ProviderContract, Upstream
from asyncrouter.testing.contracts.retry import RetryContract
from asyncrouter.testing.contracts.selector import SelectorContract

__all__ = [
    "EstimatorContract",
    "FallbackContract",
    "JudgeContract",
    "PluginContract",
    "ProviderContract",
    "RetryContract",
    "SelectorContract",
    "Upstream",
]
