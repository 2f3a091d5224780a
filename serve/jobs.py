"""What is asked and what is answered, free of any transport: to be read first.

Wire types never get past the servicers and routes; the service knows only these.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from minireranker.errors import MinirerankerError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

Kind: TypeAlias = Literal["rerank", "score", "index"]


def round_of(kind: Kind) -> str:
    """What jobs of one engine call have in common: "rank", of two kinds, or "index"."""
    return "index" if kind == "index" else "rank"


@dataclass(frozen=True, eq=False)
class Given:
    """A query or document as a request brings it, before ``seams.MediaReader`` judges it.

    In ``images`` and ``videos``, ``bytes`` are an encoded file; a ``str`` is what the client wrote:
    base64, a ``data:`` URI, a URL or a path. A tuple in ``videos`` is a list of frames.
    """

    texts: tuple[str, ...] = ()
    images: tuple[bytes | str, ...] = ()
    videos: tuple[bytes | str | tuple[bytes | str, ...], ...] = ()
    id: str | None = None
    """Of a document. Alone, without content: one that was indexed."""


@dataclass(frozen=True, eq=False)
class Refused:
    """A document that a transport could not make one of: it fails, the others go on."""

    error: MinirerankerError
    id: str | None = None


@dataclass(frozen=True, eq=False)
class Job:
    """One request to score or to index documents."""

    kind: Kind
    documents: tuple[Any, ...]
    """Whatever ``Reranker.rank`` takes as a document, ``DocumentId`` for indexed ones, and Refused
    in the place of those that did not make it out of the request."""
    queries: tuple[Any, ...] = ()
    """"rerank": exactly one; "score": any number; "index": none."""
    instruction: str | None = None
    top_k: int | None = None
    """Of "rerank" only; None: all."""
    tenant: str = ""
    """Whose cache entries and ids these are."""
    deadline: float | None = None
    """``time.monotonic()`` after which nobody waits for the answer."""
    request_id: str = ""
    """For logs and spans."""
    want_kept: bool = False
    """Whether ``Scored.kept`` is wanted."""

    @property
    def rows(self) -> int:
        """Queries, or 1 where documents are only indexed: what one document costs."""
        return max(len(self.queries), 1)

    @property
    def cost(self) -> int:
        """What the job counts in the queue: documents, once for each query."""
        return self.rows * len(self.documents)


@dataclass(frozen=True)
class Scored:
    """A document that was ranked."""

    index: int
    """Its place in the request."""
    id: str | None
    score: float
    """Raw logit difference: the float32 that ``Reranker.rank`` gives, bit for bit."""
    probability: float
    """Sigmoid of the score."""
    kept: tuple[Any, ...] = field(default=(), repr=False, compare=False)
    """``engine.types.KeptVisual`` of its videos and images; empty where nobody asked for them."""


@dataclass(frozen=True)
class Failed:
    """A document that could not be read or scored, and why."""

    index: int
    id: str | None
    error: MinirerankerError
    query: int | None = None
    """The query it failed for; None: for all of them."""


@dataclass(frozen=True)
class Timings:
    """Nanoseconds of wall clock, as the request lived through them.

    A round's stages count in full for every request that was in it, since each waited for them.
    """

    queue: int = 0
    """Until its first document was taken, and between its rounds."""
    inputs: int = 0
    """Decoding, resizing, tokenising, and choosing visual tokens."""
    prefix: int = 0
    """First segments that were not in the cache."""
    suffix: int = 0
    """Second segments below the band, and pairs through it."""
    total: int = 0


@dataclass(frozen=True)
class Tokens:
    """Tokens of a request. In a round that several requests share, each has its part of them."""

    computed: int = 0
    """Of first segments that were read, and of pairs."""
    cached: int = 0
    """Of first segments served from the cache."""


@dataclass(frozen=True)
class Outcome:
    """The answer to "rerank": best first, ties by place."""

    results: tuple[Scored, ...]
    failed: tuple[Failed, ...] = ()
    timings: Timings = Timings()
    tokens: Tokens = Tokens()


@dataclass(frozen=True, eq=False)
class ScoreOutcome:
    """The answer to "score"."""

    scores: NDArray[np.float32]
    """[queries, documents], raw logit differences; NaN where a document failed."""
    failed: tuple[Failed, ...] = ()
    timings: Timings = Timings()
    tokens: Tokens = Tokens()


@dataclass(frozen=True)
class IndexOutcome:
    """The answer to "index"."""

    ids: tuple[str | None, ...]
    """One a document, its own or a digest of its content; None where it failed."""
    failed: tuple[Failed, ...] = ()
    timings: Timings = Timings()
    tokens: Tokens = Tokens()


Answer: TypeAlias = Outcome | ScoreOutcome | IndexOutcome
