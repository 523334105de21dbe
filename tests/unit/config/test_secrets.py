"""Secrets that are written out, or stand where something else belongs: refused, and never repeated."""

from __future__ import annotations

import pytest
from changed_config import SECRET, SECRET_CURE, put

from asyncrouter.config.loading import load_config
from asyncrouter.types.errors import ConfigError


class TestSecrets:
    @pytest.mark.parametrize(
        ("path", "at"),
        [
            ("providers.openai.api_key", "providers.openai.api_key"),
            ("providers.openai.headers", "providers.openai.headers.X-API-Key"),
            ("providers.openai.list", "providers.openai.list[0].apikey"),
            ("groups.chat.select", "groups.chat.select.api_key"),
            ("groups.chat.params", "groups.chat.params.extra_headers.Authorization"),
            ("router.plugins", "router.plugins[0].openai_api_key"),
        ],
    )
    def test_none_is_written_out(self, base, path, at):
        value = {
            "providers.openai.api_key": SECRET,
            "providers.openai.headers": {"X-API-Key": SECRET},
            "providers.openai.list": [{"apikey": SECRET}],
            "groups.chat.select": {"use": "semantic", "api_key": SECRET},
            "groups.chat.params": {"extra_headers": {"Authorization": f"Bearer {SECRET}"}},
            "router.plugins": [{"use": "cache", "openai_api_key": SECRET}],
        }[path]
        put(base, path, value)
        with pytest.raises(ConfigError) as caught:
            load_config(base)
        assert [str(fault) for fault in caught.value.faults] == [
            f"{at}: a secret must not be written out; {SECRET_CURE}"
        ]
        assert SECRET not in str(caught.value)

    @pytest.mark.parametrize("several", [[SECRET], [lambda: SECRET, SECRET], ("", SECRET)])
    def test_nor_is_one_of_several(self, base, several):
        base["providers"]["openai"]["api_key"] = several
        with pytest.raises(ConfigError) as caught:
            load_config(base)
        assert str(caught.value) == f"providers.openai.api_key: a secret must not be written out; {SECRET_CURE}"

    @pytest.mark.parametrize("value", [SECRET, "", "two words", 7, ["KEY", SECRET], ["KEY", 7]])
    def test_a_key_in_place_of_its_name(self, base, value):
        base["providers"]["openai"]["api_key_env"] = value
        with pytest.raises(ConfigError) as caught:
            load_config(base)
        assert str(caught.value) == (
            'providers.openai.api_key_env: expected the name of an environment variable; such as "OPENAI_API_KEY"'
        )

    def test_no_name_at_all_is_left_to_the_provider(self, base):
        base["providers"]["openai"]["api_key_env"] = None
        assert load_config(base).providers["openai"].options == {"api_key_env": None}

    @pytest.mark.parametrize(
        ("path", "value"),
        [
            ("agents.recon.token", "abcdef"),
            ("router.default", SECRET),
            ("router.deadline_s", "x" * 41),
            ("router.deadline_s", "Bearer abc"),
            ("deployments.mini.provider", "AIzaSyA-0123"),
            ("deployments.mini.provider", "x" * 50),
            ("groups.chat.fallbacks", [SECRET]),
        ],
    )
    def test_a_misplaced_one_is_not_repeated(self, base, path, value):
        put(base, path, value)
        with pytest.raises(ConfigError) as caught:
            load_config(base)
        assert "".join(value) not in str(caught.value)

    def test_a_callable_or_a_variable_name_is_welcome(self, base):
        def key() -> str:
            return SECRET

        base["providers"]["openai"] = {"api_key": key}
        config = load_config(base)
        assert config.providers["openai"].options["api_key"] is key
        for several in ({"api_key": [key, key]}, {"api_key_env": ["KEY", "OTHER_KEY"]}):
            base["providers"]["openai"] = several
            assert load_config(base).providers["openai"].options == several

    def test_none_is_shown_by_repr(self, base):
        base["providers"]["openai"] = {"base_url": "https://user:hunter2@host"}
        base["router"] = {"params": {"user": "hunter2"}}
        base["groups"]["chat"]["params"] = {"user": "hunter2"}
        base["groups"]["chat"]["select"] = {"use": "x", "pass": "hunter2"}
        assert "hunter2" not in repr(load_config(base))
