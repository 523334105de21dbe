"""The contract of plugin distributions: every clause is failed by a distribution that is wrong in just that."""

from __future__ import annotations

import pytest
from distributions import installing_in

from asyncrouter.testing import PluginContract

STRATEGY = """
class Strategy:
    \"\"\"Selects.\"\"\"

    def __init__(self, *, threshold=0.5): pass

    @hookimpl
    def asyncrouter_select(self, candidates): pass
"""
REGISTER = """
@hookimpl
def asyncrouter_register(registry):
    registry.selector("zed", {factory})
"""
RIGHT = STRATEGY + REGISTER.format(factory="Strategy")


def registering(factory, more=""):
    return STRATEGY + more + REGISTER.format(factory=factory)


class Right(PluginContract):
    distribution = "asyncrouter-zed"


class Capital(PluginContract):
    distribution = "AsyncRouter_Zed"


WRONG = {
    "test_is_named_as_agreed": [
        (Capital, RIGHT, {"distribution": "AsyncRouter_Zed"}, r"call the distribution asyncrouter-<word>, in small"),
        (Right, RIGHT, {"module": "zed_router"}, r"the entry point imports 'zed_router'; call it asyncrouter_zed"),
        (Right, RIGHT, {"entry_points": "z = asyncrouter_zed"}, r"the entry point is called 'z'; call it 'zed'"),
        (Right, RIGHT, {"entry_points": ""}, r"it has 0 entry points in group 'asyncrouter'; give it one"),
        (
            Right,
            RIGHT,
            {"entry_points": "zed = asyncrouter_zed\nzed2 = asyncrouter_zed"},
            r"it has 2 entry points .*; give it one",
        ),
        (Right, RIGHT, {"distribution": "asyncrouter-other"}, r"asyncrouter-zed is not installed; run: pip install -e"),
    ],
    "test_depends_on_the_router": [
        (Right, RIGHT, {"requires": "attrs"}, r"it does not require asyncrouter; add it to dependencies"),
    ],
    "test_import_is_light": [
        (Right, RIGHT + "import structlog, aiohttp\n", {}, r"importing it loads aiohttp structlog; import them inside"),
        (Right, RIGHT + "import no_such_module\n", {}, r"it cannot be imported alone: .*no_such_module"),
    ],
    "test_registers_its_names": [
        (Right, "@hookimpl\ndef asyncrouter_register(registry): pass\n", {}, r"it registers nothing; call registry"),
        (
            Right,
            STRATEGY + '@hookimpl\ndef asyncrouter_register(registry):\n    registry.judge("yak", Strategy)\n',
            {},
            r"judge 'yak': call it 'zed', or zed_<more>",
        ),
        (
            Right,
            STRATEGY + '@hookimpl\ndef asyncrouter_register(registry):\n    registry.selector("cost", Strategy)\n',
            {},
            r"the selector name 'cost' is already taken by asyncrouter;",
        ),
        (
            Right,
            RIGHT + '    registry.selector("zed", Strategy)\n',
            {},
            r"the selector name 'zed' is already taken by asyncrouter-zed",
        ),
        (Right, "x = 1\n", {}, r"no @hookimpl asyncrouter_register"),
        (Right, "1 / 0\n", {}, r"its entry point cannot be loaded: ZeroDivisionError"),
    ],
    "test_entry_point_only_registers": [
        (
            Right,
            RIGHT + "@hookimpl\ndef asyncrouter_observe(event): pass\n",
            {},
            r"implements \['asyncrouter_register', 'asyncrouter_observe'\]; keep asyncrouter_register only",
        ),
    ],
    "test_factories_are_documented": [
        (Right, RIGHT.replace('    """Selects."""\n', ""), {}, r"selector 'zed': give its factory a docstring"),
        (Right, registering("make", "def make():\n    return Strategy()\n"), {}, r"give its factory a docstring"),
    ],
    "test_makes_what_it_promises": [
        (Right, RIGHT.replace("(self, candidates)", "(self, prompts)"), {}, r"refuses it: .*unknown arguments"),
        (
            Right,
            RIGHT.replace("_select", "_observe").replace("candidates", "event"),
            {},
            r"does not implement",
        ),
        (
            Right,
            RIGHT.replace("*, threshold=0.5", "*, threshold"),
            {},
            r"threshold.*give options that it",
        ),
        (
            Right,
            STRATEGY.replace("self, *,", "self, *, name=None,")
            + REGISTER.format(factory="Strategy").replace("selector", "provider"),
            {},
            r"provider 'zed': it has not complete, stream and aclose",
        ),
    ],
    "test_makes_new_objects": [
        (
            Right,
            registering("make", 'ONE = Strategy()\ndef make():\n    """Make it."""\n    return ONE\n'),
            {},
            r"it made the same object twice",
        ),
    ],
    "test_refuses_unknown_options": [
        (
            Right,
            RIGHT.replace("*, threshold=0.5", "**options"),
            {},
            r"it swallows unknown options; name them, without",
        ),
    ],
}
CLAUSES = sorted(name for name in dir(PluginContract) if name.startswith("test_"))


@pytest.fixture
def install(tmp_path):
    with installing_in(tmp_path) as install:
        yield install


@pytest.mark.parametrize("clause", CLAUSES)
def test_the_right_distribution_passes(install, clause):
    install("asyncrouter-zed", RIGHT)
    getattr(Right(), clause)()


@pytest.mark.parametrize(
    ("clause", "case"),
    [
        pytest.param(clause, case, id=f"{clause}-{number}")
        for clause, cases in WRONG.items()
        for number, case in enumerate(cases)
    ],
)
def test_the_wrong_distribution_fails(install, clause, case):
    contract, source, how, message = case
    install(**{"distribution": "asyncrouter-zed", "source": source, **how})
    with pytest.raises(AssertionError, match=f"(?s){message}"):
        getattr(contract(), clause)()


def test_every_clause_has_a_wrong_distribution():
    assert sorted(WRONG) == CLAUSES
    assert all(getattr(PluginContract, clause).__doc__ for clause in CLAUSES)


def test_options_that_a_factory_cannot_do_without_are_given(install):
    install("asyncrouter-zed", RIGHT.replace("*, threshold=0.5", "*, threshold"))

    class WithOptions(Right):
        options = {("selector", "zed"): {"threshold": 0.1}}  # noqa: RUF012 - as authors write it

    WithOptions().test_makes_what_it_promises()
    WithOptions().test_refuses_unknown_options()


def test_what_is_heavy_is_the_authors_to_say(install):
    install("asyncrouter-zed", RIGHT + "import wave\n")
    Right().test_import_is_light()

    class Strict(Right):
        heavy = frozenset({"wave"})

    with pytest.raises(AssertionError, match="importing it loads wave"):
        Strict().test_import_is_light()
