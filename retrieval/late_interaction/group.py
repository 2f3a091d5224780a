"""MetaEmbed's dial: how many vectors of a query and of a candidate are compared."""

from __future__ import annotations

from typing import NamedTuple

from minireranker.errors import ConfigurationError

QUERY_TOKENS, CANDIDATE_TOKENS = 16, 64
"""Meta tokens there are."""


class Group(NamedTuple):
    """The first ``queries`` vectors of a query against the first ``candidates`` of a candidate."""

    queries: int
    candidates: int

    @classmethod
    def of(cls, value: object) -> Group:
        """From two numbers within (16, 64). Raises ConfigurationError."""
        parts = tuple(value) if isinstance(value, tuple | list) else ()
        if (
            len(parts) != 2
            or not all(type(part) is int for part in parts)
            or not (1 <= parts[0] <= QUERY_TOKENS and 1 <= parts[1] <= CANDIDATE_TOKENS)
        ):
            raise ConfigurationError(
                f"group {value!r}: allowed are two numbers, 1 to {QUERY_TOKENS} of a query and 1 "
                f"to {CANDIDATE_TOKENS} of a candidate; published are "
                + ", ".join(f"({q}, {c})" for q, c in GROUPS)
            )
        return cls(*parts)


GROUPS = (Group(1, 1), Group(2, 4), Group(4, 8), Group(8, 16), Group(16, 64))
"""The ones it is trained in (arXiv 2509.18095), cheapest first; each is a prefix of the next."""
