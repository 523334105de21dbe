"""Managers of two models on a provider, and what they counted."""

from __future__ import annotations

from asyncrouter import ModelManager

NOTHING = {
    "primary_calls": 0,
    "backup_calls": 0,
    "failures": 0,
    "failed_requests": 0,
    "retries": 0,
    "fallbacks": 0,
    "input_tokens": 0,
    "output_tokens": 0,
    "cost_usd": 0.0,
}


def upstream(provider, *more, **tables):
    return {
        "providers": {"fake": provider},
        "deployments": {
            name: {"provider": "fake", "model": name} for name in ("gpt-4", "gpt-3.5-turbo", "other", *more)
        },
        **tables,
    }


def two_models(provider, primary="gpt-4", backup="gpt-3.5-turbo", threshold=None, **options):
    return ModelManager(primary, backup, threshold, config=upstream(provider), **options)


def grouped(provider, **chat):
    return upstream(
        provider,
        router={"default": "chat"},
        groups={
            "chat": {
                "deployments": ["other", "gpt-4", "gpt-3.5-turbo"],
                "select": {"use": "complexity", "threshold": 0.5},
                **chat,
            }
        },
        agents={
            "recon": {"group": "chat", "complexity_threshold": 0.9, "params": {"temperature": 0}},
            "own": {"model_name": "gpt-3.5-turbo", "backup_model": "gpt-4", "max_retries": 1, "jitter": False},
            "plain": {},
        },
    )


def metrics(manager, *names):
    counted = manager.get_metrics()
    return tuple(counted[name] for name in names)


HARD = (
    "Prove step by step that there are infinitely many primes, then analyse the complexity of the sieve of "
    "Eratosthenes, compare it with trial division, and implement both in Python with tests."
    "\n```python\ndef f(): ...\n```"
)
