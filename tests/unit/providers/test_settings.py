"""The settings of a provider: every fault at once, with its place and its cure, and never the key."""

from __future__ import annotations

import copy
import pathlib
import pickle
import ssl
import subprocess
import sys

import pytest

from asyncrouter.providers.openai_compatible import OpenAICompatible
from asyncrouter.providers.presets import PRESETS
from asyncrouter.types.errors import ConfigError

KEY = "sk-SENTINEL-0123456789"
SERVER = "http://127.0.0.1:9/v1"


CERTIFICATE = pathlib.Path(__file__).parents[2] / "certificates" / "loopback.crt"


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch):
    for preset in PRESETS.values():
        if preset.key_env:
            monkeypatch.delenv(preset.key_env, raising=False)


def faults_of(**options):
    with pytest.raises(ConfigError) as raised:
        OpenAICompatible(**{"name": "acme", "base_url": SERVER, **options})
    return {fault.path: fault for fault in raised.value.faults}


@pytest.mark.parametrize(
    ("url", "problem"),
    [
        (5, "not int"),
        ("", "http://"),
        ("localhost:8000", "http://"),
        ("ftp://host/", "http://"),
        ("file:///etc/passwd", "http://"),
        ("http://", "no host"),
        ("http:///v1", "no host"),
        ("http://user:pw@host/v1", "password"),
        ("http://u@host", "password"),
        ("http://host/v1?x=1", "query"),
        ("http://host/v1?", "query"),
        ("http://host/v1#x", "query"),
        ("http://host/v 1", "space"),
        ("http://host/\r\nX: y", "space"),
        ("http://host\\@evil/", "backslash"),
        ("http://host:port/", "no address"),
        ("http://host:99999/", "no address"),
        ("http://[::1/", "no address"),
        ("http://host/v1/chat/completions", "leave that part out"),
    ],
)
def test_base_url(url, problem):
    fault = faults_of(base_url=url)["base_url"]
    assert problem in str(fault)
    assert fault.cure


@pytest.mark.parametrize("url", ["http://127.0.0.1:8000", "https://host/v1/", "http://[::1]:5/v1", "HTTPS://Host/v1"])
def test_right_base_urls(url):
    provider = OpenAICompatible(name="acme", base_url=url)
    assert provider._settings.url_for("m") == url.rstrip("/") + "/chat/completions"


def test_azure_has_no_base_url_of_its_own(monkeypatch):
    monkeypatch.setenv("AZURE_OPENAI_API_KEY", KEY)
    assert "is missing" in str(faults_of(base_url=None, preset=PRESETS["azure"])["base_url"])


def test_a_missing_variable_is_named_with_its_cure():
    fault = faults_of(api_key_env="NO_SUCH_KEY")["api_key_env"]
    assert str(fault) == (
        "api_key_env: the environment variable NO_SUCH_KEY is not set; export NO_SUCH_KEY=… or set api_key_env"
    )
    assert "OPENAI_API_KEY" in str(faults_of(base_url=None)["api_key_env"])


@pytest.mark.parametrize("value", ["", "  \n", "a b", "a\nb", "a\r\nX: y", "kéy", "a\x00b"])
def test_a_variable_that_holds_no_key(monkeypatch, value):
    monkeypatch.setattr("os.environ", {"MY_KEY": value})
    fault = faults_of(api_key_env="MY_KEY")["api_key_env"]
    assert "MY_KEY" in fault.message
    assert value.strip() == "" or value not in str(fault)


@pytest.mark.parametrize(("name", "path"), [(5, "api_key_env"), ("", "api_key_env"), (["MY_KEY", 5], "api_key_env[1]")])
def test_api_key_env_is_a_name_or_a_list_of_them(monkeypatch, name, path):
    monkeypatch.setenv("MY_KEY", KEY)
    assert "expected the name" in str(faults_of(api_key_env=name)[path])


def test_several_keys_are_named_by_their_variables(monkeypatch):
    monkeypatch.setattr("os.environ", {"A": "a-key", "B": "b-key"})
    keys = OpenAICompatible(name="acme", base_url=SERVER, api_key_env=["B", "A"])._settings.keys
    assert [(key.place, key.secret.reveal(), key.called) for key in keys] == [
        ("B", "b-key", False),
        ("A", "a-key", False),
    ]


def test_several_callables_are_named_by_their_place():
    keys = OpenAICompatible(name="acme", base_url=SERVER, api_key=(lambda: "a-key", lambda: "b-key"))._settings.keys
    assert [(key.place, key.secret.reveal(), key.called) for key in keys] == [
        ("api_key[0]", "a-key", True),
        ("api_key[1]", "b-key", True),
    ]


def test_each_fault_of_several_keys_has_its_place(monkeypatch):
    monkeypatch.setattr("os.environ", {"A": "a-key", "B": "no key"})
    faults = faults_of(api_key_env=["A", "B", "C", "A"])
    assert "names A 2 times; name each key once" in str(faults["api_key_env"])
    assert "B holds characters" in faults["api_key_env[1]"].message
    assert "C is not set" in faults["api_key_env[2]"].message
    assert "names no variable" in str(faults_of(api_key_env=[])["api_key_env"])
    assert "holds no callable" in str(faults_of(api_key=[])["api_key"])
    fault = faults_of(api_key=[lambda: KEY, KEY], api_key_env=["A"])["api_key[1]"]
    assert 'api_key_env = "OPENAI_API_KEY"' in fault.cure
    assert "SENTINEL" not in str(fault)


def test_a_literal_key_is_refused_and_not_repeated():
    fault = faults_of(api_key=KEY)["api_key"]
    assert 'api_key_env = "OPENAI_API_KEY"' in fault.cure
    assert "SENTINEL" not in str(fault)


def test_two_ways_to_a_key_are_one_too_many():
    assert "give one" in str(faults_of(api_key=lambda: KEY, api_key_env="X")["api_key"])


def test_the_presets_own_key_goes_to_no_other_server(monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", KEY)

    def has_key(base_url):
        return OpenAICompatible(name="acme", base_url=base_url)._settings.keys != ()

    assert has_key(None)
    assert has_key("https://api.openai.com/v1")
    assert has_key("https://API.openai.com/v2/")
    assert not has_key(SERVER)
    assert not has_key("http://api.openai.com/v1")
    assert not has_key("https://api.openai.com.evil.example/v1")


def test_local_servers_need_no_key():
    for name in ("ollama", "vllm", "lmstudio", "llamacpp"):
        assert OpenAICompatible(name=name, preset=PRESETS[name])._settings.keys == ()


def test_an_unrequired_key_is_taken_where_it_is(monkeypatch):
    import attrs

    preset = attrs.evolve(PRESETS["vllm"], key_env="VLLM_KEY")
    assert OpenAICompatible(name="x", preset=preset)._settings.keys == ()
    monkeypatch.setenv("VLLM_KEY", f" {KEY}\n")
    assert OpenAICompatible(name="x", preset=preset)._settings.keys[0].secret.reveal() == KEY


@pytest.mark.parametrize(
    ("headers", "path", "problem"),
    [
        (5, "headers", "expected a table"),
        ({"X-A": "a\r\nX-Evil: 1"}, "headers.X-A", "one line"),
        ({"X-A": "a\nb"}, "headers.X-A", "one line"),
        ({"X-A": "a\x00"}, "headers.X-A", "one line"),
        ({"X-A": "é"}, "headers.X-A", "one line"),
        ({"X-A": 5}, "headers.X-A", "one line"),
        ({"X A": "a"}, "headers", "no header"),
        ({"X\r\nA": "a"}, "headers", "no header"),
        ({"": "a"}, "headers", "no header"),
        ({5: "a"}, "headers", "no header"),
        ({"Authorization": KEY}, "headers.Authorization", "api_key_env"),
        ({"x-api-key": KEY}, "headers.x-api-key", "api_key_env"),
        ({"Cookie": KEY}, "headers.Cookie", "api_key_env"),
        ({"Host": "evil"}, "headers.Host", "leave it out"),
        ({"content-LENGTH": "5"}, "headers.content-LENGTH", "leave it out"),
        ({"Transfer-Encoding": "chunked"}, "headers.Transfer-Encoding", "leave it out"),
    ],
)
def test_headers(headers, path, problem):
    faults = faults_of(headers=headers)
    assert problem in str(faults[path])
    assert "SENTINEL" not in str(faults)


def test_organization_and_project_are_headers_and_checked_like_them():
    assert set(faults_of(organization="a\nb", project=5)) == {"organization", "project"}
    headers = OpenAICompatible(name="a", base_url=SERVER, organization="org-1", project="p-1")._settings.headers
    assert headers["OpenAI-Organization"] == "org-1"
    assert headers["OpenAI-Project"] == "p-1"


@pytest.mark.parametrize(
    ("params", "paths"),
    [
        ([1], {"params"}),
        ({"model": "x", "messages": [], "stream": True}, {"params.model", "params.messages", "params.stream"}),
        ({"temperature": float("nan")}, {"params"}),
        ({"x": object()}, {"params"}),
    ],
)
def test_params(params, paths):
    assert set(faults_of(params=params)) == paths


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("max_response_bytes", 0),
        ("max_response_bytes", -1),
        ("max_response_bytes", "big"),
        ("max_response_bytes", True),
        ("finish_grace_s", float("nan")),
        ("finish_grace_s", None),
        ("trust_env", "yes"),
        ("trust_env", 1),
        ("api_version", "2024-10-21"),
        ("ca_file", 5),
        ("ca_file", "/no/such/file.pem"),
        ("proxy", "socks5://host"),
        ("proxy", "http://user:pw@host:3128"),
    ],
)
def test_other_options(option, value):
    fault = faults_of(**{option: value})[option]
    assert fault.cure
    assert "pw" not in str(fault)


def test_a_file_without_certificates(tmp_path):
    file = tmp_path / "ca.pem"
    file.write_text("nothing")
    assert "PEM" in str(faults_of(ca_file=file)["ca_file"])


def test_every_fault_is_told_at_once():
    faults = faults_of(base_url="x", api_key=KEY, headers=1, params=1, proxy="x", trust_env=5, max_response_bytes=0)
    assert set(faults) == {"base_url", "api_key", "headers", "params", "proxy", "trust_env", "max_response_bytes"}


def test_azure_addresses(monkeypatch):
    monkeypatch.setenv("AZURE_OPENAI_API_KEY", KEY)

    def url(model="my gpt/4?", **options):
        options = {"base_url": "https://acme.openai.azure.com/", "preset": PRESETS["azure"], **options}
        return OpenAICompatible(name="azure", **options)._settings.url_for(model)

    v1 = "https://acme.openai.azure.com/openai/v1/chat/completions"
    assert url() == v1
    assert url(base_url="https://acme.openai.azure.com/openai/v1/") == v1
    assert url(api_version="2024-10-21") == (
        "https://acme.openai.azure.com/openai/deployments/my%20gpt%2F4%3F/chat/completions?api-version=2024-10-21"
    )
    with pytest.raises(ConfigError, match="api_version"):
        url(api_version="")


def test_verification_cannot_be_switched_off():
    for option in ("verify", "verify_ssl", "ssl"):
        with pytest.raises(TypeError):
            OpenAICompatible(name="acme", base_url=SERVER, **{option: False})
    assert OpenAICompatible(name="acme", base_url=SERVER)._settings.tls is None


def test_a_private_authority_replaces_the_systems():
    tls = OpenAICompatible(name="acme", base_url=SERVER, ca_file=CERTIFICATE)._settings.tls
    assert tls.verify_mode is ssl.CERT_REQUIRED
    assert tls.check_hostname
    assert len(tls.get_ca_certs()) == 1


@pytest.mark.parametrize("options", [{"api_key_env": "MY_KEY"}, {"api_key": lambda: KEY}])
def test_nothing_of_a_provider_shows_its_key(monkeypatch, options):
    monkeypatch.setenv("MY_KEY", KEY)
    provider = OpenAICompatible(
        name="acme", base_url=SERVER, headers={"X-Private": KEY}, params={"user": KEY}, **options
    )
    assert repr(provider) == f"OpenAICompatible(name='acme', base_url='{SERVER}')"
    assert "SENTINEL" not in f"{vars(provider)!r}{provider._settings!r}{provider._credentials!r}{provider!s}"
    for attempt in (pickle.dumps, copy.deepcopy):
        with pytest.raises(TypeError, match=r"pickle|Secret"):
            attempt(provider)


def test_making_a_provider_loads_no_aiohttp():
    code = (
        "import sys; from asyncrouter.providers import builtin; from asyncrouter.providers.openai_compatible import *;"
        "OpenAICompatible(name='a', base_url='http://localhost/v1'); sys.exit('aiohttp' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
