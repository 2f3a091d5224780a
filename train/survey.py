"""A first look at every content: whether it can be read, and how many tokens it has.

Lengths make batches of a bounded size whose number is known ahead; a document that cannot be read
is found here, once, and its pairs are left out.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

from minireranker.engine.ahead import ahead
from minireranker.engine.content import Content
from minireranker.engine.guide import Guide
from minireranker.engine.progress import Progress
from minireranker.engine.prompt import Side
from minireranker.engine.reading import Reading, read_content
from minireranker.engine.state import EngineState
from minireranker.engine.work import Meter
from minireranker.errors import ConfigurationError, MinirerankerError

from .examples import Examples, Pair
from .files import write_atomically

_LOG = logging.getLogger(__name__)

_TOGETHER = 16
"""Contents whose importances are asked for in one call."""


@dataclass(frozen=True)
class Skipped:
    """A content that cannot be used, why, and how many pairs are left out with it."""

    origin: str
    reason: str
    pairs: int


@dataclass(eq=False)
class Survey:
    """What was found."""

    lengths: dict[tuple[int, bool], int] = field(default_factory=dict)
    """Tokens by (content, whether it is read as the first segment)."""
    failed: dict[int, str] = field(default_factory=dict)
    """Contents that cannot be used, and why."""

    def usable(self, examples: Examples) -> list[int]:
        """The pairs both sides of which can be read."""
        return [
            number
            for number, pair in enumerate(examples.pairs)
            if pair.query not in self.failed and pair.document not in self.failed
        ]

    def skipped(self, examples: Examples) -> tuple[Skipped, ...]:
        """What is left out; a pair with two failures counts for its document."""
        counts = dict.fromkeys(self.failed, 0)
        for pair in examples.pairs:
            side = pair.document if pair.document in counts else pair.query
            if side in counts:
                counts[side] += 1
        return tuple(
            Skipped(examples.origins[content], self.failed[content], count)
            for content, count in counts.items()
        )


def is_query_first(pair: Pair, examples: Examples, order: str) -> bool:
    """Which side of a pair is reused (method, section 1)."""
    query, document = examples.contents[pair.query], examples.contents[pair.document]
    return order == "query-first" or (query.is_visual and not document.is_visual)


def take_survey(
    examples: Examples,
    state: EngineState,
    file: Path | None,
    progress: bool | None,
    *,
    again: bool = False,
) -> Survey:
    """Look at everything, or read what an earlier look at the same left in ``file``.

    ``again``: see ``kept_survey``. Raises ConfigurationError where visual tokens are to be left out
    and nothing says which.
    """

    def look() -> Survey:
        _require_importances(examples, state)
        return _look(examples, state, progress)

    return kept_survey(examples, state.namespace.name, file, look, again=again)


def kept_survey(
    examples: Examples,
    model: str,
    file: Path | None,
    look: Callable[[], Survey],
    *,
    again: bool = False,
) -> Survey:
    """What ``look`` finds, or what ``file`` keeps of an earlier look with the same model.

    ``again``: not where that look had failures, which may have been mended since. What cannot be
    used is named in the log.
    """
    identity = {"data": examples.digest(), "model": model}
    found = None if file is None else _read(file, identity)
    if found is not None and not (again and found.failed):
        return found
    survey = look()
    warn_skipped(survey.skipped(examples))
    if file is not None:
        facts = {
            "lengths": [[*key, length] for key, length in survey.lengths.items()],
            "failed": list(survey.failed.items()),
        }
        write_atomically(file, json.dumps(identity | facts).encode("utf-8", "surrogatepass"))
    return survey


def warn_skipped(skipped: Sequence[Skipped]) -> None:
    """Name what is left out in the log."""
    for item in skipped:
        _LOG.warning("%s: %s; its %d pair(s) are skipped", item.origin, item.reason, item.pairs)


def _read(file: Path, identity: dict[str, Any]) -> Survey | None:
    try:
        found = json.loads(file.read_bytes())
        if {name: found[name] for name in identity} != identity:
            return None
        lengths = {(content, first): length for content, first, length in found["lengths"]}
        return Survey(lengths, dict(map(tuple, found["failed"])))
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _require_importances(examples: Examples, state: EngineState) -> None:
    if state.profile.keep_ratio == 1.0 or state.embedder is not None:
        return
    for content, origin in zip(examples.contents, examples.origins, strict=True):
        if content.is_visual and not content.importances:
            raise ConfigurationError(
                f"profile {state.profile.name} keeps {state.profile.keep_ratio:g} of the visual "
                f"tokens, and nothing says which ({origin} is the first): pass embedder=... "
                '(--embedder), give each image "importances", or keep all with keep_ratio=1.0 '
                "(--keep-ratio 1)"
            )


@dataclass(eq=False)
class _Look:
    """At one content."""

    number: int
    content: Content
    reading: Reading | None = None
    error: MinirerankerError | None = None


def _look(examples: Examples, state: EngineState, progress: bool | None) -> Survey:
    survey, guide = Survey(), state.guide(Meter())
    roles = _roles(examples, state.profile.template.order)
    looks = (_Look(at, examples.contents[at]) for at in sorted(roles))

    def read(look: _Look) -> None:
        try:
            look.reading = read_content(look.content, state.profile.limits)
        except MinirerankerError as error:
            look.error = error

    with Progress("looking at the data", len(roles), progress) as bar:
        ready = ahead(looks, read)
        while group := list(islice(ready, _TOGETHER)):
            for look, side in _sides(group, guide):
                try:
                    for is_first, is_query in sorted(roles[look.number]):
                        length = _length(state, side, is_first=is_first, is_query=is_query)
                        key = look.number, is_first
                        survey.lengths[key] = max(length, survey.lengths.get(key, 0))
                except MinirerankerError as error:
                    look.error = error
            survey.failed |= {look.number: str(look.error) for look in group if look.error}
            bar.advance(len(group))
    return survey


def _roles(examples: Examples, order: str) -> dict[int, set[tuple[bool, bool]]]:
    """By content: (whether it goes first, whether it is the query)."""
    roles: dict[int, set[tuple[bool, bool]]] = {}
    for pair in examples.pairs:
        query_first = is_query_first(pair, examples, order)
        roles.setdefault(pair.query, set()).add((query_first, True))
        roles.setdefault(pair.document, set()).add((not query_first, False))
    return roles


def _sides(group: Sequence[_Look], guide: Guide) -> Iterator[tuple[_Look, Side]]:
    """The sound ones, pruned."""
    read = [(look, look.reading) for look in group if look.reading is not None]
    sides = guide.sides([(look.content, reading) for look, reading in read])
    for (look, _), side in zip(read, sides, strict=True):
        if isinstance(side, MinirerankerError):
            look.error = side
        else:
            yield look, side


def _length(state: EngineState, side: Side, *, is_first: bool, is_query: bool) -> int:
    """With the profile's own instruction; another moves a first segment by a token at most."""
    if is_first:
        asked = state.profile.template.instruction
        return len(state.prompt.first(side, asked, is_query=is_query))
    return len(state.prompt.second(side, is_query=is_query))
