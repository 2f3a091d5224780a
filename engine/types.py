"""The records everybody passes around: what comes in (Query, Document), what goes out (Ranking).

Read this file first. Nothing here touches torch.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeAlias, overload

from minireranker.errors import ConfigurationError, InputError, MinirerankerError

if TYPE_CHECKING:
    import numpy as np
    from PIL.Image import Image

ImageSource: TypeAlias = "str | os.PathLike[str] | bytes | Image | np.ndarray[Any, Any]"
"""A path, encoded bytes, a PIL image, or an array [height, width(, channels)]."""

VideoSource: TypeAlias = "str | os.PathLike[str] | bytes | Sequence[ImageSource]"
"""A path, encoded bytes, or a sequence of frames (each an ImageSource)."""


class DocumentId(str):
    """The id of an indexed document. A plain ``str`` passed to ``rank`` is a text document;
    a ``DocumentId`` (or ``Document(id=...)`` without content) refers to what was indexed."""


@dataclass(frozen=True, eq=False)
class Content:
    """Texts, images and videos of one side, and optionally what its visual tokens are worth.

    Inside a segment the order is videos, images, text. ``importances`` has one array for each
    visual in that order (or None where unknown): one number a visual token, higher is kept first.
    """

    texts: tuple[str, ...] = ()
    images: tuple[Any, ...] = ()
    videos: tuple[Any, ...] = ()
    importances: tuple[Any, ...] = ()

    @property
    def is_visual(self) -> bool:
        """Whether it holds an image or a video."""
        return bool(self.images or self.videos)

    @property
    def is_empty(self) -> bool:
        """Whether it holds nothing but blanks."""
        return not self.is_visual and not any(text.strip() for text in self.texts)


@dataclass(frozen=True, eq=False)
class Query:
    """What is searched for: any of text, image, video, each one or a list.

    ``importances``: see Content. Raises ConfigurationError for a field of the wrong kind.
    """

    text: str | Sequence[str] | None = None
    image: Any = None
    video: Any = None
    importances: Any = None

    @property
    def content(self) -> Content:
        """The fields as tuples."""
        return Content(
            _texts(self.text), _images(self.image), _videos(self.video), _arrays(self.importances)
        )

    @classmethod
    def of(cls, value: Any) -> Query:
        """A Query from whatever a caller may pass; see ``Reranker.rank``."""
        return value if isinstance(value, cls) else cls(**_fields(value, cls))


@dataclass(frozen=True, eq=False)
class Document(Query):
    """A candidate: a Query's fields plus an optional ``id``. Only an id: an indexed document."""

    id: str | None = None

    @property
    def is_reference(self) -> bool:
        """Whether it only names a document indexed earlier."""
        return self.id is not None and self.text is self.image is self.video is None

    @classmethod
    def of(cls, value: Any) -> Document:
        """A Document from whatever a caller may pass; see ``Reranker.rank``."""
        if isinstance(value, DocumentId):
            return cls(id=str(value))
        return value if isinstance(value, cls) else cls(**_fields(value, cls))


@dataclass(frozen=True)
class RankedDocument:
    """One document with its score, and where it stood in the call."""

    index: int
    id: str | None
    score: float
    """Raw logit difference ``(w_yes - w_no) . h``; ranks are by this."""
    probability: float
    """Sigmoid of the score."""
    document: Any = field(repr=False)
    """What the caller passed."""


@dataclass(frozen=True)
class FailedDocument:
    """One document that could not be scored or indexed, and why."""

    index: int
    id: str | None
    error: MinirerankerError
    document: Any = field(repr=False)

    def __str__(self) -> str:
        """Which document, and what was wrong with it."""
        name = f" ({self.id})" if self.id else ""
        return f"document {self.index}{name}: {self.error}"


@dataclass(frozen=True)
class Timings:
    """Wall-clock seconds of a call by stage."""

    inputs: float = 0.0
    """Decoding, resizing, tokenising, hashing."""
    prefix: float = 0.0
    """First segments that were not in the cache: vision tower and decoder."""
    suffix: float = 0.0
    """Second segments below the band."""
    pairs: float = 0.0
    """Pairs through the band to the exit."""

    @property
    def total(self) -> float:
        """All stages."""
        return self.inputs + self.prefix + self.suffix + self.pairs


@dataclass(frozen=True)
class Work:
    """What a call computed, counted, not timed. A token-layer is one token in one decoder layer."""

    vision_patches: int = 0
    header_token_layers: int = 0
    prefix_token_layers: int = 0
    suffix_token_layers: int = 0
    pair_token_layers: int = 0
    cache_hits: int = 0
    cache_misses: int = 0

    @property
    def token_layers(self) -> int:
        """What a call with a warm cache pays: second segments below the band, and pairs in it."""
        return self.suffix_token_layers + self.pair_token_layers

    def __add__(self, other: Work) -> Work:
        """Field by field."""
        return Work(*(getattr(self, f) + getattr(other, f) for f in self.__dataclass_fields__))

    def __sub__(self, other: Work) -> Work:
        """Field by field."""
        return Work(*(getattr(self, f) - getattr(other, f) for f in self.__dataclass_fields__))


@dataclass(frozen=True)
class Ranking(Sequence[RankedDocument]):
    """The answer of ``rank``: a sequence of RankedDocument, best first, and what happened."""

    hits: tuple[RankedDocument, ...]
    failed: tuple[FailedDocument, ...] = ()
    timings: Timings = Timings()
    work: Work = Work()

    def __len__(self) -> int:
        """Documents ranked (after ``top_k``)."""
        return len(self.hits)

    @overload
    def __getitem__(self, at: int) -> RankedDocument: ...
    @overload
    def __getitem__(self, at: slice) -> tuple[RankedDocument, ...]: ...
    def __getitem__(self, at: int | slice) -> RankedDocument | tuple[RankedDocument, ...]:
        """The document at a rank, 0 is the best."""
        return self.hits[at]

    def __iter__(self) -> Iterator[RankedDocument]:
        """Best first."""
        return iter(self.hits)


@dataclass(frozen=True)
class Indexed(Sequence["DocumentId | None"]):
    """The answer of ``index``: one id a document, in order; None where the document failed."""

    ids: tuple[DocumentId | None, ...]
    failed: tuple[FailedDocument, ...] = ()
    timings: Timings = Timings()
    work: Work = Work()

    def __len__(self) -> int:
        """Documents passed in."""
        return len(self.ids)

    @overload
    def __getitem__(self, at: int) -> DocumentId | None: ...
    @overload
    def __getitem__(self, at: slice) -> tuple[DocumentId | None, ...]: ...
    def __getitem__(self, at: int | slice) -> DocumentId | tuple[DocumentId | None, ...] | None:
        """The id of the document passed at that place."""
        return self.ids[at]


def _fields(value: Any, kind: type[Query]) -> dict[str, Any]:
    """Constructor arguments for a value that is not yet a Query or Document."""
    if isinstance(value, Mapping):
        unknown = set(value) - set(kind.__dataclass_fields__)
        if unknown:
            raise ConfigurationError(
                f"unknown field(s) {sorted(unknown)} in a {kind.__name__.lower()}; "
                f"it has {', '.join(kind.__dataclass_fields__)}"
            )
        return dict(value)
    if isinstance(value, str):
        return {"text": value}
    if isinstance(value, Query):
        return {name: getattr(value, name) for name in Query.__dataclass_fields__}
    if value is None:
        return {}
    if isinstance(value, os.PathLike) and _suffix(value) in _VIDEO_SUFFIXES:
        return {"video": value}
    return {"image": value}


def _texts(value: Any) -> tuple[str, ...]:
    if value is None:
        return ()
    texts = tuple(value) if isinstance(value, list | tuple) else (value,)
    for text in texts:
        if not isinstance(text, str):
            raise InputError(f"text is {type(text).__name__}; pass a str or a list of str")
    return texts


def _images(value: Any) -> tuple[Any, ...]:
    if value is None:
        return ()
    return tuple(value) if isinstance(value, list | tuple) else (value,)


def _videos(value: Any) -> tuple[Any, ...]:
    """One video is a path, bytes or a flat list of frames; a list of those is several videos.

    A list of strings or paths is taken for frames if the first looks like an image file, as the
    published Qwen3-VL-Reranker does; otherwise for several video files.
    """
    if value is None:
        return ()
    if not isinstance(value, list | tuple):
        return (value,)
    if not value:
        return ((),)
    first = value[0]
    if isinstance(first, list | tuple | bytes):
        return tuple(value)
    if isinstance(first, str | os.PathLike):
        return (tuple(value),) if _suffix(first) in _FRAME_SUFFIXES else tuple(value)
    return (tuple(value),)


def _suffix(path: str | os.PathLike[str]) -> str:
    return os.path.splitext(os.fspath(path))[1].lower()


_FRAME_SUFFIXES = {".jpg", ".jpeg", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff"}
_VIDEO_SUFFIXES = {".mp4", ".mkv", ".webm", ".mov", ".avi", ".m4v", ".mpg", ".mpeg", ".ts"}


def _arrays(value: Any) -> tuple[Any, ...]:
    """One array, or a list of arrays (or None): one for each visual."""
    if value is None:
        return ()
    if isinstance(value, list | tuple) and all(
        item is None or hasattr(item, "__len__") for item in value
    ):
        return tuple(value)
    return (value,)
