"""Every kind of fault, with the path, the words and the cure that the user reads."""

from __future__ import annotations

import datetime as dt
import math

import pytest
from changed_config import SECRET, SECRET_CURE, put


def test_the_base_is_valid(base, faults_of):
    assert faults_of(base) == []


UNKNOWN_KEYS = [
    ("routr", {}, 'routr: unknown key; did you mean "router"?'),
    ("xyz", 1, "xyz: unknown key; known: router, providers, deployments, groups, agents, outcomes, model"),
    ("router.dealine_s", 1, 'router.dealine_s: unknown key; did you mean "deadline_s"?'),
    ("deployments.mini.prise", {}, 'deployments.mini.prise: unknown key; did you mean "price"?'),
    (
        "deployments.mini.price",
        {"input": 1, "output": 2, "outptu": 3},
        'deployments.mini.price.outptu: unknown key; did you mean "output"?',
    ),
    ("deployments.mini.limits", {"rps": 1}, 'deployments.mini.limits.rps: unknown key; did you mean "rpm"?'),
    ("groups.chat.retries", {}, 'groups.chat.retries: unknown key; did you mean "retry"?'),
    ("groups.chat.hedge", {"after": 1}, "groups.chat.hedge.after: unknown key; known: at, max_extra_load"),
    ("groups.chat.breaker", {"failure": 5}, 'groups.chat.breaker.failure: unknown key; did you mean "failures"?'),
    ("groups.chat.timeouts", {"idle": 1.0}, 'groups.chat.timeouts.idle: unknown key; did you mean "idle_s"?'),
    ("agents.recon.gruop", "chat", 'agents.recon.gruop: unknown key; did you mean "group"?'),
    ("deployments.mini.api_key", SECRET, f"deployments.mini.api_key: unknown key; {SECRET_CURE}"),
]

WRONG_TYPES = [
    ("router", 3, "router: expected a table, not 3"),
    ("router", [], "router: expected a table, not an empty list"),
    ("providers", "openai", "providers: expected a table, not the string 'openai'"),
    ("deployments.mini", "gpt-4", "deployments.mini: expected a table, not the string 'gpt-4'"),
    ("router.default", 3, "router.default: expected a string, not 3"),
    ("router.default", " ", "router.default: is empty"),
    ("router.deadline_s", "3", "router.deadline_s: expected a positive number, not the string '3'"),
    ("router.deadline_s", True, "router.deadline_s: expected a positive number, not the boolean true"),
    ("router.deadline_s", None, "router.deadline_s: expected a positive number, not nothing"),
    ("router.deadline_s", {}, "router.deadline_s: expected a positive number, not a table"),
    ("router.max_attempts", 2.0, "router.max_attempts: expected a whole number of 1 or more, not 2.0"),
    ("router.max_attempts", False, "router.max_attempts: expected a whole number of 1 or more, not the boolean false"),
    ("router.seed", 1.5, "router.seed: expected a whole number, not 1.5"),
    ("router.params", [1], "router.params: expected a table, not the list [1]"),
    ("router.plugins", "x", "router.plugins: expected a list of strategies, not the string 'x'"),
    ("providers.openai.kind", 7, "providers.openai.kind: expected a string, not 7"),
    (
        "providers.openai",
        dt.date(2025, 1, 1),
        "providers.openai: expected a table, or an object with complete, stream and aclose, not an object of type date",
    ),
    (
        "providers.other",
        object(),
        (
            "providers.other: expected a table, or an object with complete, stream and aclose, "
            "not an object of type object"
        ),
    ),
    ("deployments.mini.model", 4, "deployments.mini.model: expected a string, not 4"),
    ("deployments.mini.price", 3, "deployments.mini.price: expected a table, not 3"),
    ("deployments.mini.limits", None, "deployments.mini.limits: expected a table, not nothing"),
    ("deployments.mini.tags", "x", "deployments.mini.tags: expected a list of strings, not the string 'x'"),
    ("deployments.mini.tags", ["x", 1], "deployments.mini.tags[1]: expected a string, not 1"),
    ("groups.chat.deployments", "mini", "groups.chat.deployments: expected a list of strings, not the string 'mini'"),
    ("groups.chat.deployments", ["mini", 3], "groups.chat.deployments[1]: expected a string, not 3"),
    ("groups.chat.deployments", ["mini", ""], "groups.chat.deployments[1]: is empty"),
    (
        "groups.chat.deployments",
        ["mini", "mini"],
        "groups.chat.deployments[1]: stands here a second time; remove it",
    ),
    ("groups.chat.deployments", [], "groups.chat.deployments: is empty; name at least one"),
    (
        "groups.chat.select",
        3,
        'groups.chat.select: expected a strategy\'s name, a table with use = "name", or an object, not 3',
    ),
    ("groups.chat.select", {"threshold": 1}, 'groups.chat.select.use: missing; such as use = "complexity"'),
    (
        "groups.chat.select",
        {"use": 3},
        'groups.chat.select.use: expected a strategy\'s name; such as use = "complexity"',
    ),
    (
        "groups.chat.retry",
        "",
        "groups.chat.retry: expected a strategy's name, a table with use = \"name\", or an object, not the string ''",
    ),
    ("groups.chat.filters", {}, "groups.chat.filters: expected a list of strategies, not a table"),
    ("groups.chat.filters", ["a", {}], 'groups.chat.filters[1].use: missing; such as use = "complexity"'),
    (
        "groups.chat.filters",
        [None],
        'groups.chat.filters[0]: expected a strategy\'s name, a table with use = "name", or an object, not nothing',
    ),
    ("agents.recon.jitter", 1, "agents.recon.jitter: expected true or false, not 1"),
]

OUT_OF_RANGE = [
    ("router.deadline_s", 0, "router.deadline_s: expected a positive number, not 0"),
    ("router.deadline_s", math.inf, "router.deadline_s: expected a positive number, not inf"),
    ("router.deadline_s", 10**400, "router.deadline_s: expected a positive number, not a number that large"),
    ("router.max_attempts", 0, "router.max_attempts: expected a whole number of 1 or more, not 0"),
    ("router.retry_budget", 1.5, "router.retry_budget: expected a number from 0 to 1, not 1.5"),
    ("router.retry_floor", -1, "router.retry_floor: expected a whole number of 0 or more, not -1"),
    (
        "deployments.mini.price",
        {"input": -1, "output": math.nan},
        "deployments.mini.price.input: expected a number of 0 or more, not -1",
    ),
    ("deployments.mini.price", {"input": 1}, "deployments.mini.price.output: missing; it has no default"),
    (
        "deployments.mini.limits",
        {"queue": -1},
        "deployments.mini.limits.queue: expected a whole number of 0 or more, not -1",
    ),
    (
        "deployments.mini.limits",
        {"adaptive": "yes"},
        "deployments.mini.limits.adaptive: expected true or false, not the string 'yes'",
    ),
    (
        "groups.chat.timeouts",
        {"queue_s": -0.1},
        "groups.chat.timeouts.queue_s: expected a number of 0 or more, not -0.1",
    ),
    ("deployments.mini.limits", {"rpm": 0}, "deployments.mini.limits.rpm: expected a positive number, not 0"),
    (
        "deployments.mini.limits",
        {"concurrency": 1.5},
        "deployments.mini.limits.concurrency: expected a whole number of 1 or more, not 1.5",
    ),
    (
        "deployments.mini.context_window",
        -5,
        "deployments.mini.context_window: expected a whole number of 1 or more, not -5",
    ),
    ("deployments.mini.weight", -0.1, "deployments.mini.weight: expected a number of 0 or more, not -0.1"),
    (
        "deployments.mini.capabilities",
        ["tool"],
        (
            "deployments.mini.capabilities[0]: expected json_schema, streaming, tools or vision, "
            "not the string 'tool'; did you mean \"tools\"?"
        ),
    ),
    ("groups.chat.patience_s", -1, "groups.chat.patience_s: expected a number of 0 or more, not -1"),
    (
        "groups.chat.timeouts",
        {"connect_s": math.nan},
        "groups.chat.timeouts.connect_s: expected a positive number, not nan",
    ),
    ("groups.chat.timeouts", {"attempt_s": 0}, "groups.chat.timeouts.attempt_s: expected a positive number, not 0"),
    ("groups.chat.breaker", {"ratio": 0}, "groups.chat.breaker.ratio: expected a number over 0 and up to 1, not 0"),
    (
        "groups.chat.breaker",
        {"failures": 0},
        "groups.chat.breaker.failures: expected a whole number of 1 or more, not 0",
    ),
    ("groups.chat.breaker", {"open_s": 30}, "groups.chat.breaker.open_cap_s: 20.0 is under open_s, 30"),
    (
        "groups.chat.hedge",
        {"at": "p100"},
        "groups.chat.hedge.at: expected a percentile or seconds, not the string 'p100'; such as \"p95\"",
    ),
    (
        "groups.chat.hedge",
        {"at": "p0"},
        "groups.chat.hedge.at: expected a percentile or seconds, not the string 'p0'; such as \"p95\"",
    ),
    ("groups.chat.hedge", {"at": 0}, "groups.chat.hedge.at: expected a positive number, not 0"),
    (
        "groups.chat.hedge",
        {"max_extra_load": 2},
        "groups.chat.hedge.max_extra_load: expected a number from 0 to 1, not 2",
    ),
    (
        "groups.chat.on_interrupt",
        "resume",
        "groups.chat.on_interrupt: expected raise, continue or restart, not the string 'resume'",
    ),
    ("groups.chat.on_interrupt", 1, "groups.chat.on_interrupt: expected raise, continue or restart, not 1"),
    (
        "groups.chat.on_interrupt",
        ("raise", "restart"),
        "groups.chat.on_interrupt: expected raise, continue or restart, not a list",
    ),
    (
        "groups.chat.parallel",
        {"take": "majorty"},
        (
            "groups.chat.parallel.take: expected first, best or majority, not the string 'majorty'; "
            'did you mean "majority"?'
        ),
    ),
    (
        "groups.chat.fallback_on",
        ["content_filtr"],
        (
            "groups.chat.fallback_on[0]: expected content_filter, not the string 'content_filtr'; "
            'did you mean "content_filter"?'
        ),
    ),
    (
        "agents.recon.complexity_threshold",
        1.1,
        "agents.recon.complexity_threshold: expected a number from 0 to 1, not 1.1",
    ),
    ("agents.recon.backoff_factor", 0.5, "agents.recon.backoff_factor: expected a number of 1 or more, not 0.5"),
    ("agents.recon.initial_delay", -1, "agents.recon.initial_delay: expected a number of 0 or more, not -1"),
]

REFERENCES = [
    (
        "deployments.mini.provider",
        "opnai",
        "deployments.mini.provider: unknown provider 'opnai'; did you mean \"openai\"?",
    ),
    (
        "deployments.mini.provider",
        "home made",
        "deployments.mini.provider: unknown provider 'home made'; add its table under [providers]",
    ),
    ("deployments.mini", {"model": "x"}, 'deployments.mini.provider: missing; name one: provider = "openai"'),
    (
        "groups.chat.deployments",
        ["mini", "bigg"],
        "groups.chat.deployments[1]: unknown deployment 'bigg'; did you mean \"big\"?",
    ),
    ("groups.chat.deployments", ["nix"], "groups.chat.deployments[0]: unknown deployment 'nix'; known: big, mini"),
    ("groups.chat.fallbacks", ["spar"], "groups.chat.fallbacks[0]: unknown group 'spar'; did you mean \"spare\"?"),
    ("groups.chat.fallbacks", ["chat"], "groups.chat.fallbacks: cycle chat → chat; leave one of them out"),
    ("groups.mini", {"deployments": ["big"]}, "groups.mini: a deployment has this name too; rename one of the two"),
    ("router.default", "chatt", "router.default: unknown group or deployment 'chatt'; did you mean \"chat\"?"),
    (
        "router.default",
        "zzz",
        "router.default: unknown group or deployment 'zzz'; write \"provider/model\" where the provider is to be told",
    ),
    ("agents.recon.group", "chad", "agents.recon.group: unknown group 'chad'; did you mean \"chat\"?"),
    (
        "agents.recon.group",
        "mini",
        'agents.recon.group: mini is a deployment, not a group; write model_name = "mini"',
    ),
    (
        "agents.recon.model_name",
        "gpt-4",
        "agents.recon: has a group and models of its own; write either group or model_name",
    ),
    (
        "agents.other",
        {"backup_model": "gpt-4"},
        "agents.other.model_name: missing; backup_model needs the model that it backs up",
    ),
    (
        "agents.other",
        {"model_name": "mni"},
        "agents.other.model_name: unknown model 'mni'; did you mean \"mini\"?",
    ),
    (
        "agents.other",
        {"model_name": "opnai/gpt-4"},
        "agents.other.model_name: unknown model 'opnai/gpt-4'; did you mean \"openai/gpt-4\"?",
    ),
    (
        "agents.chat",
        {"model_name": "gpt-4"},
        "agents.chat: its models make a group of this name, which a group has; rename one of them",
    ),
    (
        "agents.mini",
        {"model_name": "gpt-4"},
        "agents.mini: its models make a group of this name, which a deployment has; rename one of them",
    ),
]


@pytest.mark.parametrize(("path", "value", "expected"), UNKNOWN_KEYS + WRONG_TYPES + OUT_OF_RANGE + REFERENCES)
def test_a_fault_names_path_and_cure(base, faults_of, path, value, expected):
    put(base, path, value)
    assert expected in faults_of(base)


@pytest.mark.parametrize(("path", "value"), [(path, value) for path, value, _ in UNKNOWN_KEYS + OUT_OF_RANGE])
def test_one_mistake_is_told_once(base, faults_of, path, value):
    put(base, path, value)
    faults = faults_of(base)
    assert len(faults) == len({fault.partition(": ")[0] for fault in faults}) <= 2
