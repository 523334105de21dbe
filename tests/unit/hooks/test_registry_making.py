"""What a name stands for is made with checked options, those of its extension too."""

from __future__ import annotations

import attrs
import pytest
from registered import fault_of, make_word, plugin_of

from asyncrouter.hooks.registry import Registry
from asyncrouter.types.errors import ConfigError, ConfigFault, InvalidRequest, PluginLoadError

# ------------------------------------------------------------------ making


@attrs.frozen(kw_only=True)
class Word:
    """A word."""

    share: float = attrs.field(default=0.5, validator=attrs.validators.le(1.0))
    length: int


def needs(**options):
    return options


class Callable:
    def __call__(self, share=1):
        return share


def test_a_factory_gets_its_options_and_what_the_caller_adds(registry):
    registry.provider("word", make_word)
    assert registry.make("provider", "word", {"share": 0.1}, "providers.p", name="p") == (0.1, "p")
    registry.judge("word", Word)
    assert registry.make("judge", "word", {"length": 3}) == Word(length=3)
    registry.judge("anything", needs)
    assert registry.make("judge", "anything", {"a": 1}) == {"a": 1}
    registry.judge("object", Callable())
    assert registry.make("judge", "object", {"share": 2}) == 2


def make_fault(registry, options, path="groups.chat.judge", **given):
    with pytest.raises(ConfigError) as caught:
        registry.make("judge", "word", options, path, **given)
    return fault_of(caught)


def test_an_unknown_option_names_its_path_and_the_nearest(registry):
    registry.judge("word", Word)
    assert make_fault(registry, {"shore": 1, "length": 1}) == (
        "groups.chat.judge.shore", "unknown key", 'did you mean "share"?')  # fmt: skip
    assert make_fault(registry, {"zzz": 1, "length": 1}, path="") == ("zzz", "unknown key", "known: share, length")
    assert make_fault(registry, {1: 2, "length": 1})[0] == "groups.chat.judge.1"


def test_all_unknown_options_are_told_at_once(registry):
    registry.judge("word", lambda: None)
    with pytest.raises(ConfigError) as caught:
        registry.make("judge", "word", {"a": 1, "b": 2}, "j")
    assert [str(fault) for fault in caught.value.faults] == [
        "j.a: unknown key; known: none",
        "j.b: unknown key; known: none",
    ]


def test_what_the_caller_adds_is_no_option(registry):
    registry.judge("word", make_word)
    assert make_fault(registry, {"name": "x"}, name="p")[:2] == ("groups.chat.judge.name", "unknown key")


def test_a_missing_or_wrong_option_names_the_path(registry):
    registry.judge("word", Word)
    path, message, _cure = make_fault(registry, {})
    assert path == "groups.chat.judge"
    assert "length" in message
    path, message, _cure = make_fault(registry, {"length": 1, "share": 2.0})
    assert (path, "'share' must be <= 1.0: 2.0" in message) == ("groups.chat.judge", True)


def raising(error):
    def factory():
        raise error

    return factory


def test_a_factorys_own_faults_stand_under_its_path(registry):
    registry.judge("word", raising(ConfigError(faults=[ConfigFault("model", "no such file", "get it")])))
    assert make_fault(registry, {}) == ("groups.chat.judge.model", "no such file", "get it")


def test_a_factorys_own_message_is_not_lost(registry):
    registry.judge("word", raising(ConfigError("set WORD_KEY")))
    assert make_fault(registry, {}) == ("groups.chat.judge", "set WORD_KEY", "")


@pytest.mark.parametrize("error", [ImportError("no torch"), OSError("no file"), KeyError("x"), ZeroDivisionError()])
def test_a_factory_that_fails_otherwise_is_named_with_its_distribution(registry, error):
    registry.register_from(
        plugin_of(lambda registry: registry.judge("word", raising(error))), "asyncrouter-word", "1.0"
    )
    with pytest.raises(
        PluginLoadError, match=rf"asyncrouter-word: judge 'word' cannot be made: {type(error).__name__}"
    ):
        registry.make("judge", "word", {}, "groups.chat.judge")


def test_the_routers_own_errors_pass(registry):
    registry.judge("word", raising(InvalidRequest("no")))
    with pytest.raises(InvalidRequest):
        registry.make("judge", "word", {})


def test_a_factory_that_hides_its_signature_is_simply_called(registry):
    registry.judge("word", dict)
    assert registry.make("judge", "word", {"a": 1}) == {"a": 1}
    registry.plugin("word", type)
    with pytest.raises(ConfigError, match=r"^router\.plugins\[0\]: plugin 'word': type\(\)"):
        registry.make("plugin", "word", {"a": 1}, "router.plugins[0]")


def test_two_registries_share_nothing(registry):
    registry.judge("word", make_word)
    assert Registry().entries() == []


# ------------------------------------------------------------------ extending a built-in name


def make_more(*, budget=1.0):
    """A word with a budget."""
    return "more", budget


@pytest.fixture
def extended(registry):
    """Return a registry whose selector ``word`` may be extended."""
    registry.selector("word", make_word, extended_by="asyncrouter-word")
    return registry


def test_options_that_the_built_in_lacks_lead_to_its_extension(extended):
    extended.register_from(plugin_of(lambda registry: registry.selector("word", make_more)), "asyncrouter-word", "2")
    assert extended.make("selector", "word", {}) == (0.5, "")
    assert extended.make("selector", "word", {"share": 1}) == (1, "")
    assert extended.make("selector", "word", {"budget": 3}) == ("more", 3)
    assert [(one.distribution, one.summary) for one in extended.entries()] == [
        ("asyncrouter", "A word."),
        ("asyncrouter-word", "A word with a budget."),
    ]


def test_the_extension_refuses_what_it_does_not_know(extended):
    extended.register_from(plugin_of(lambda registry: registry.selector("word", make_more)), "asyncrouter-word", "2")
    with pytest.raises(ConfigError) as caught:
        extended.make("selector", "word", {"budgte": 3}, "g")
    assert fault_of(caught) == ("g.budgte", "unknown key", 'did you mean "budget"?')


def test_without_the_extension_the_error_says_how_to_get_it(extended):
    with pytest.raises(ConfigError) as caught:
        extended.make("selector", "word", {"budget": 3}, "g")
    path, message, cure = fault_of(caught)
    assert (path, message) == ("g.budget", "unknown key")
    assert cure == "known: share, name; more options with pip install asyncrouter-word"


def test_nobody_else_extends_it_and_nobody_twice(extended):
    plugin = plugin_of(lambda registry: registry.selector("word", make_more))
    with pytest.raises(PluginLoadError, match="already taken by asyncrouter;"):
        extended.register_from(plugin, "asyncrouter-other", "1")
    extended.register_from(plugin, "asyncrouter-word", "1")
    with pytest.raises(PluginLoadError, match="already taken by asyncrouter-word;"):
        extended.register_from(plugin, "asyncrouter-word", "1")


def test_an_extension_that_fails_halfway_is_not_registered(extended):
    def register(registry):
        registry.selector("word", make_more)
        raise RuntimeError("halfway")

    with pytest.raises(PluginLoadError, match="halfway"):
        extended.register_from(plugin_of(register), "asyncrouter-word", "1")
    assert [one.distribution for one in extended.entries()] == ["asyncrouter"]
