"""Documents from a PDF file: one a page, rendered to a picture."""

from __future__ import annotations

import io
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from minireranker.engine.content import Document
from minireranker.errors import MediaError, MissingDependencyError

__all__ = ["read_pdf"]

_DPI = 150
_POINTS_AN_INCH = 72


def read_pdf(path: Path, label: str, max_pixels: int) -> Iterator[Document]:
    """One Document a page, id ``label#page=N`` from 1; its image is an encoded PNG of the page.

    Pages are rendered at 150 dpi, or smaller so that width x height stays below ``max_pixels``.
    Encoded, because hundreds of pages as raw pixels would fill the memory. Raises MediaError for
    a file or page that cannot be rendered, MissingDependencyError without pypdfium2.
    """
    pdfium = _pdfium()
    try:
        with pdfium.PdfDocument(path) as pdf:
            pdf.init_forms()
            if not len(pdf):
                raise MediaError(f"{path}: a PDF without pages; leave it out")
            for number in range(1, len(pdf) + 1):
                page = _render(pdf[number - 1], max_pixels, f"{path}, page {number}")
                yield Document(image=page, id=f"{label}#page={number}")
    except (pdfium.PdfiumError, OSError) as error:
        raise MediaError(
            f"{path}: not a PDF that can be read (damaged, or locked by a password); "
            "repair it or leave it out"
        ) from error


def _render(page: Any, max_pixels: int, where: str) -> bytes:
    width, height = page.get_size()
    if not (width > 0 and height > 0):
        raise MediaError(f"{where}: its size is {width} x {height} points; leave the file out")
    scale = min(_DPI / _POINTS_AN_INCH, _largest_scale(width, height, max_pixels))
    bitmap = page.render(scale=scale)
    encoded = io.BytesIO()
    bitmap.to_pil().convert("RGB").save(encoded, format="PNG", compress_level=1)
    return encoded.getvalue()


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
