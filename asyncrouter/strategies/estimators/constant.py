"""The estimator that knows nothing."""

from __future__ import annotations

import attrs

from asyncrouter.hooks import options
from asyncrouter.hooks.markers import hookimpl
from asyncrouter.types.decisions import Estimate
from asyncrouter.types.request import Request
from asyncrouter.types.tokens import input_tokens, requested_output_tokens


@attrs.frozen(kw_only=True, eq=False)
class ConstantEstimator:
    """The same complexity for every request.

    ``complexity``: a number from 0 to 1.
    """

    complexity: float = attrs.field(default=0.5, validator=options.number(0, 1))

    @hookimpl(trylast=True)
    def asyncrouter_estimate(self, request: Request) -> Estimate:
        """Return the configured complexity with the token forecast."""
        return Estimate(
            complexity=self.complexity,
            input_tokens=input_tokens(request),
            output_tokens=requested_output_tokens(request),
            reason="configured",
            source="constant",
        )
