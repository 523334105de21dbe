"""Prices of models that a configuration leaves out, from the table of the extra ``prices`` (genai-prices, offline)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from asyncrouter.types.deployments import Price

TABLE_NAMES: Mapping[str, str] = {
    "anthropic": "anthropic",
    "azure": "azure",
    "cerebras": "cerebras",
    "deepseek": "deepseek",
    "fireworks": "fireworks",
    "gemini": "google",
    "groq": "groq",
    "mistral": "mistral",
    "openai": "openai",
    "openrouter": "openrouter",
    "perplexity": "perplexity",
    "together": "together",
    "xai": "x-ai",
}
"""Kinds of providers that charge, and the table's names for them."""

TOKENS = 1000
"""Tokens to ask the price of: few enough for the lowest tier of a model whose price rises with the prompt."""


OWN_ADDRESSES = frozenset({"azure"})
"""Kinds where every customer has an address of their own; elsewhere a ``base_url`` leads to another's prices."""


def charges_by_list(provider_kind: str, options: Mapping[str, Any]) -> bool:
    """Return whether a provider of that kind with these options charges the kind's list prices."""
    return "base_url" not in options or provider_kind in OWN_ADDRESSES


def price_of(provider_kind: str, model: str) -> Price | None:
    """Return the list price of *model*, or ``None``: no such provider, no such model, or the extra is not installed.

    The first call imports the table, about half a second; a price is the lowest tier's, in US dollars per million.
    """
    if provider_kind not in TABLE_NAMES:
        return None
    try:
        from genai_prices import Usage, calc_price
    except ImportError:
        return None

    def per_million(**usage: int) -> tuple[float, float]:
        found = calc_price(Usage(**usage), model, provider_id=TABLE_NAMES[provider_kind])
        return float(found.input_price * 1000), float(found.output_price * 1000)

    try:
        fresh, output = per_million(input_tokens=TOKENS, output_tokens=TOKENS)
        cached, _ = per_million(input_tokens=TOKENS, output_tokens=0, cache_read_tokens=TOKENS)
        _, reasoning = per_million(input_tokens=0, output_tokens=TOKENS, output_reasoning_tokens=TOKENS)
    except (LookupError, ValueError):  # no such model, or one that is not priced by the token
        return None
    return Price(input=fresh, output=output, cached_input=cached, reasoning=None if reasoning == output else reasoning)
