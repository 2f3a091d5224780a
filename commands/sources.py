"""From what a person names (folders, patterns, files) to the documents to rank."""

from __future__ import annotations

import glob
import logging
import os
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from minireranker.engine.content import IMAGE_SUFFIXES, VIDEO_SUFFIXES, Document
from minireranker.errors import InputError, NoDocumentsError

from .sources_jsonl import read_jsonl
from .sources_pdf import read_pdf
from .unreadable import unreadable

__all__ = ["SourceFile", "find_files", "read_documents"]

_LOGGER = logging.getLogger(__name__)


@dataclass(frozen=True)
class SourceFile:
    """A file to read documents from."""

    path: Path
    label: str
    """Its path below what was named; becomes the document's id."""


def find_files(sources: Sequence[str]) -> list[SourceFile]:
    """The files meant by folders (searched for images and videos), glob patterns and paths.

    In the order named, sorted naturally within each (img2 before img10), hidden ones left out of
    folders, a file named twice only once. Labels that would collide are the paths as named. Raises
    NoDocumentsError for a source that gives nothing.
    """
    found: dict[str, SourceFile] = {}
    for source in sources:
        for file in _expand(source):
            found.setdefault(os.path.abspath(file.path), file)
    times = Counter(file.label for file in found.values())
    return [
        file if times[file.label] == 1 else replace(file, label=_label(file.path))
        for file in found.values()
    ]


def read_documents(files: Sequence[SourceFile], max_pixels: int) -> list[Document]:
    """The documents in files: one each, except for `.jsonl` (one a line) and `.pdf` (one a page).

    A `.txt` is text, a video suffix a video, and everything else an image, whatever its suffix.
    Pixels are read by the engine, pages rendered then; a text, line or PDF file that cannot be
    read is a document that fails there with its reason, like a broken image. ``max_pixels``: the
    size (width x height) a rendered page stays below. Raises InputError for a JSONL file that
    cannot be opened, NoDocumentsError where the files are empty, MissingDependencyError.
    """
    documents = [document for file in files for document in _read(file, max_pixels)]
    if not documents:
        names = ", ".join(file.label for file in files)
        raise NoDocumentsError(f"no documents in {names}; name a file that holds some")
    return documents


def _expand(source: str) -> list[SourceFile]:
    path = Path(source)
    # Not Path.is_dir: it raises for what can be no name at all, a whole sentence for instance.
    if os.path.isdir(path):
        return _walk(path)
    if os.path.exists(path):
        return [SourceFile(path, _label(path, path.parent))]
    matches = sorted(glob.glob(source, recursive=True), key=_natural_key)
    if not matches:
        raise NoDocumentsError(
            f"nothing found for {source!r}; name a folder, a pattern in quotes ('photos/*.jpg') "
            "or files: images, videos, .txt, .pdf, .jsonl"
        )
    base = _fixed_part(source)
    files = [Path(match) for match in matches if not os.path.isdir(match)]
    below = [file.path for match in matches if os.path.isdir(match) for file in _media(Path(match))]
    return [SourceFile(path, _label(path, base)) for path in files + below]


def _walk(folder: Path) -> list[SourceFile]:
    files = list(_media(folder))
    hint = _left_out(folder)
    if not files:
        raise NoDocumentsError(
            f"no images or videos in the folder {str(folder)!r}; {hint or 'name another one'}"
        )
    if hint:
        _LOGGER.warning("%s: only images and videos are taken from a folder; %s", folder, hint)
    return files


def _left_out(folder: Path) -> str:
    """What else the folder has that could be ranked, and how to name it; empty if nothing."""
    suffixes = Counter(path.suffix.lower() for path in _visible(folder))
    kinds = [kind for kind in (".pdf", ".txt", ".jsonl") if suffixes[kind]]
    if not kinds:
        return ""
    counts = ", ".join(f"{suffixes[kind]} {kind}" for kind in kinds)
    patterns = " ".join(f"'{folder}/**/*{kind}'" for kind in kinds)
    return f"it has {counts} file(s), to be named as a pattern: {patterns}"


def _visible(folder: Path) -> list[Path]:
    """All files below, hidden ones and those in hidden folders left out."""
    paths = []
    for root, folders, names in os.walk(folder):
        folders[:] = [name for name in folders if not name.startswith(".")]
        paths += [Path(root, name) for name in names if not name.startswith(".")]
    return paths


def _media(folder: Path) -> Iterator[SourceFile]:
    for path in sorted(_visible(folder), key=lambda path: _natural_key(path.as_posix())):
        if path.suffix.lower() in IMAGE_SUFFIXES | VIDEO_SUFFIXES:
            yield SourceFile(path, _label(path, folder))


def _natural_key(text: str) -> list[tuple[int, int, str]]:
    parts = re.split(r"(\d+)", text.casefold())
    return [(0, int(part), part) if part.isdecimal() else (1, 0, part) for part in parts]


def _label(path: Path, base: Path | None = None) -> str:
    """The path below ``base`` with slashes; bytes that are not UTF-8 become question marks."""
    path = path if base is None else path.relative_to(base)
    return os.fsencode(path.as_posix()).decode("utf-8", "replace")


def _fixed_part(pattern: str) -> Path:
    """The folder of a pattern up to its first wildcard."""
    parts = Path(pattern).parts[:-1]
    fixed = [part for at, part in enumerate(parts) if not any(map(glob.has_magic, parts[: at + 1]))]
    return Path(*fixed)


def _read(file: SourceFile, max_pixels: int) -> Iterator[Document]:
    suffix = file.path.suffix.lower()
    if suffix == ".jsonl":
        yield from read_jsonl(file.path, file.label)
    elif suffix == ".pdf":
        yield from read_pdf(file.path, file.label, max_pixels)
    elif suffix == ".txt":
        yield _text(file)
    elif suffix in VIDEO_SUFFIXES:
        yield Document(video=file.path, id=file.label)
    else:
        yield Document(image=file.path, id=file.label)


def _text(file: SourceFile) -> Document:
    try:
        return Document(text=file.path.read_text(encoding="utf-8-sig"), id=file.label)
    except OSError as error:
        reason = f"cannot be read: {error.strerror or error}; check the path"
    except UnicodeDecodeError:
        reason = "not UTF-8; write the file in that encoding"
    return unreadable(file.label, InputError(f"{file.path}: {reason}"))
