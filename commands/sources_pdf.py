"""Documents from a PDF file: one a page, rendered when the engine reads it."""

from __future__ import annotations

import math
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from minireranker.engine.content import Document
from minireranker.errors import MediaError, MissingDependencyError

from .unreadable import unreadable

if TYPE_CHECKING:
    from PIL.Image import Image

__all__ = ["Page", "read_pdf"]

_DPI = 150
_POINTS_AN_INCH = 72
_one_at_a_time = threading.Lock()
"""PDFium is not safe for threads, whatever the file."""


@dataclass(frozen=True)
class Page:
    """A lazy image (see ``ImageSource``) of a page: rendered at each call, never held.

    At 150 dpi, or smaller so that width x height stays below ``max_pixels``.
    """

    path: Path
    number: int
    """From 1."""
    max_pixels: int

    @property
    def made_from(self) -> tuple[Path, str]:
        """The file it depends on, and what else: see ``ImageSource``."""
        return self.path, f"page {self.number} in {self.max_pixels} pixels, {_DPI} dpi"

    def __call__(self) -> Image:
        """The page in RGB. Raises MediaError for one that cannot be rendered."""
        where = f"{self.path}, page {self.number}"
        with _opened(self.path, where) as pdf:
            page = pdf[self.number - 1]
            width, height = page.get_size()
            if not (width > 0 and height > 0):
                raise MediaError(f"{where}: its size is {width} x {height} points; leave it out")
            scale = min(_DPI / _POINTS_AN_INCH, _largest_scale(width, height, self.max_pixels))
            image: Image = page.render(scale=scale).to_pil().convert("RGB")
            return image


def read_pdf(path: Path, label: str, max_pixels: int) -> Iterator[Document]:
    """One Document a page, id ``label#page=N`` from 1; its image is a Page.

    A file that cannot be read is one document, id ``label``, that fails with the reason when it is
    read. Raises MissingDependencyError without pypdfium2.
    """
    try:
        with _opened(path, str(path)) as pdf:
            count = len(pdf)
    except MediaError as error:
        yield unreadable(label, error, hides=True)
        return
    for number in range(1, count + 1):
        yield Document(image=Page(path, number, max_pixels), id=f"{label}#page={number}")


@contextmanager
def _opened(path: Path, where: str) -> Iterator[Any]:
    pdfium = _pdfium()
    try:
        with _one_at_a_time, pdfium.PdfDocument(path) as pdf:
            pdf.init_forms()
            yield pdf
    except OSError as error:
        reason = error.strerror or "no such file"
        raise MediaError(f"{where}: cannot be opened ({reason}); check the path") from error
    except pdfium.PdfiumError as error:
        # Which of these, PDFium cannot be trusted to tell: its last error may be an earlier one.
        reasons = "damaged, empty, locked by a password, or no PDF"
        raise MediaError(f"{where}: {reasons}; repair it or leave it out") from error


def _largest_scale(width: float, height: float, max_pixels: int) -> float:
    """The largest s with (s * width + 1) * (s * height + 1) <= max_pixels.

    The ones: pdfium rounds each side up.
    """
    both, area = width + height, width * height
    return (math.sqrt(both**2 + 4 * area * (max_pixels - 1)) - both) / (2 * area)


def _pdfium() -> Any:
    try:
        import pypdfium2
    except ImportError as error:
        raise MissingDependencyError(
            "reading .pdf files needs pypdfium2; pip install 'minireranker[pdf]'"
        ) from error
    return pypdfium2
