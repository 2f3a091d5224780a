"""What comes in: queries and documents in every form a caller may pass, as one record.

Nothing here touches torch or reads a pixel.
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeAlias

from minireranker.errors import InputError

if TYPE_CHECKING:
    import numpy as np
    from PIL.Image import Image

Picture: TypeAlias = "str | os.PathLike[str] | bytes | Image | np.ndarray[Any, Any]"
"""A path, encoded bytes, a PIL image, or an array [height, width(, channels)]."""

ImageSource: TypeAlias = "Picture | Callable[[], Picture]"
"""A Picture, or what makes one: a callable without arguments that returns it or raises InputError.

It is called each time the pixels are needed, and what it returned is let go of after, so that a
long list of pictures (pages of a PDF, say) is never in memory at once. It has to return the same
picture each time. Any other exception it raises becomes a MediaError. One that reads from a file
may say so in an attribute ``made_from``, a pair (path, detail): then it is not called while that
file is unchanged and what is kept of the picture is in the cache.
"""

VideoSource: TypeAlias = "str | os.PathLike[str] | bytes | Sequence[ImageSource]"
"""A path, encoded bytes, or a sequence of frames (each an ImageSource)."""

IMAGE_SUFFIXES = frozenset({".bmp", ".gif", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp"})
"""Of image files, in lower case: what a folder is searched for, what is a frame in a list."""

VIDEO_SUFFIXES = frozenset(
    {".3gp", ".asf", ".avi", ".flv", ".m4v", ".mkv", ".mov", ".mp4", ".mpeg", ".mpg"}
    | {".ogv", ".ts", ".webm", ".wmv"}
)
"""Of video files, in lower case: what a folder is searched for, which paths are videos."""


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

    ``importances``: see Content. Raises InputError for a field of the wrong kind.
    """

    text: str | Sequence[str] | None = None
    image: Any = None
    video: Any = None
    importances: Any = None
    content: Content = field(init=False, repr=False)
    """The fields as tuples, as they were when this was made."""

    def __post_init__(self) -> None:
        """Check the fields and take them over."""
        parts = _texts(self.text), _images(self.image), _videos(self.video)
        content = Content(*parts, _arrays(self.importances))
        if content.importances and not content.is_visual:
            raise InputError("importances came without an image or a video; pass both or neither")
        object.__setattr__(self, "content", content)

    @classmethod
    def of(cls, value: Any) -> Query:
        """A Query from whatever a caller may pass; see ``Reranker``. Raises InputError."""
        if isinstance(value, DocumentId):
            raise InputError("a DocumentId stands for a document; a query is given by its content")
        return value if isinstance(value, cls) else cls(**_fields(value, cls))


@dataclass(frozen=True, eq=False)
class Document(Query):
    """A candidate: a Query's fields plus an optional ``id``. Only an id: an indexed document."""

    id: str | None = None

    def __post_init__(self) -> None:
        """Check the fields and take them over."""
        super().__post_init__()
        if not isinstance(self.id, str | None):
            raise InputError(f"a document's id is {type(self.id).__name__}; pass a str")

    @property
    def is_reference(self) -> bool:
        """Whether it only names a document indexed earlier."""
        return self.id is not None and self.text is self.image is self.video is None

    @classmethod
    def of(cls, value: Any) -> Document:
        """A Document from whatever a caller may pass; see ``Reranker``. Raises InputError."""
        if isinstance(value, DocumentId):
            return cls(id=str(value))
        if value is None:
            raise InputError("None is no document; index() gives None for one that failed")
        return value if isinstance(value, cls) else cls(**_fields(value, cls))


def _fields(value: Any, kind: type[Query]) -> dict[str, Any]:
    """Constructor arguments for a value that is not yet a Query or Document."""
    if isinstance(value, Mapping):
        known = [spec.name for spec in dataclasses.fields(kind) if spec.init]
        unknown = sorted(str(key) for key in value if key not in known)
        if unknown:
            raise InputError(
                f"unknown field(s) {', '.join(unknown)} in a {kind.__name__.lower()}; it has "
                f"{', '.join(known)}"
            )
        return dict(value)
    if isinstance(value, str):
        return {"text": value}
    if isinstance(value, Query):
        return {s.name: getattr(value, s.name) for s in dataclasses.fields(Query) if s.init}
    if value is None:
        return {}
    if isinstance(value, os.PathLike) and _suffix(value) in VIDEO_SUFFIXES:
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
        return (tuple(value),) if _suffix(first) in IMAGE_SUFFIXES else tuple(value)
    return (tuple(value),)


def _suffix(path: str | os.PathLike[str]) -> str:
    return os.path.splitext(os.fspath(path))[1].lower()


def _arrays(value: Any) -> tuple[Any, ...]:
    """One array, or a list of arrays (or None): one for each visual."""
    if value is None:
        return ()
    if isinstance(value, list | tuple) and all(
        item is None or hasattr(item, "__len__") for item in value
    ):
        return tuple(value)
    return (value,)
