"""The index a user keeps: documents' vectors in a folder, for searching and scoring."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from minireranker.errors import ConfigurationError, VectorIndexError
from minireranker.retrieval.vectors import TokenVectors

from . import manifest
from .batch import Batch
from .folder import Folder
from .manifest import GraphEntry
from .pooled_search import Found, PooledSearch
from .rows import Rows, RowScorer, selections
from .settings import Settings
from .sizes import sizes
from .snapshot import Snapshot
from .verification import Verification, verify
from .writer import Writer

WAIT_SECONDS = 30.0
"""How long another writer is waited for."""


class VectorIndex:
    """Pooled and token vectors of documents, in one folder. A context manager.

    It shows one state: the one it was opened in, or left by its own last write, or found by the
    last ``refresh``; others may write meanwhile. One process writes at a time: a method that writes
    waits ``wait_seconds`` for another to end, and works on what that one left. So does ``search``
    where it finds the graph of neighbours damaged, without waiting. Threads may share an index.

    Whatever a method reads is checked the first time this process reads it. All raise
    VectorIndexError for a folder that cannot be used, for bytes that have changed since they were
    written, and when the index is closed.
    """

    def __init__(self, folder: Folder, snapshot: Snapshot) -> None:
        """Use ``create`` or ``open``."""
        self.wait_seconds = WAIT_SECONDS
        """How long another writer is waited for."""
        self._folder, self._now = folder, snapshot
        self._open = True
        self._search = PooledSearch(folder.path, self._relink)

    @classmethod
    def create(
        cls,
        path: str | os.PathLike[str],
        *,
        identity: str,
        encoder: str,
        dim: int,
        pooled_dim: int,
        dtype: str = "bfloat16",
        ann: str = "exact",
    ) -> VectorIndex:
        """Make an empty index in ``path``, a new or an empty folder.

        Args:
            path: the folder.
            identity: of the encoder; ``open`` can refuse another one's.
            encoder: its kind.
            dim: of a token vector; 0 for documents that have none.
            pooled_dim: of a pooled vector; 0 for documents that have none.
            dtype: of token vectors: float32, bfloat16, or int8 with a float32 scale each.
            ann: how pooled vectors are searched: "exact", or "hnsw" (needs usearch).

        Raises:
            ConfigurationError: for values out of range, and a folder that holds something.
            MissingDependencyError: if usearch is needed and not installed.
            VectorIndexError: for a folder that cannot be made.
        """
        settings = Settings(identity, encoder, dim, pooled_dim, dtype, ann)
        settings.need_packages()
        folder = Folder(Path(path))
        folder.make()
        with folder.locked("create", WAIT_SECONDS), _complaining(folder):
            folder.make()  # another may have been quicker
            manifest.publish(folder.path, manifest.Manifest(settings))
        return cls.open(path)

    @classmethod
    def open(cls, path: str | os.PathLike[str], *, identity: str | None = None) -> VectorIndex:
        """Open an index, for reading or writing; of the encoder ``identity``, if that is given.

        Raises VectorIndexError, ConfigurationError for another encoder's index, and
        MissingDependencyError.
        """
        folder = Folder(Path(path))
        snapshot = Snapshot.of(folder.path)
        settings = snapshot.manifest.settings
        if identity is not None and identity != settings.identity:
            raise ConfigurationError(
                f"{path} was made with the encoder {settings.encoder} {settings.identity}, not "
                f"with {identity}: their vectors cannot be compared. Use that encoder, or make a "
                "new index with this one"
            )
        settings.need_packages()
        return cls(folder, snapshot)

    def append(
        self,
        ids: Sequence[str],
        vectors: TokenVectors,
        sources: Sequence[str | None] | None = None,
    ) -> None:
        """Add documents; one whose id is there already takes its place, at the same moment.

        When this returns they are on the disk. If it raises, or the process dies, the index has
        all documents it had, and of these all or none.

        Args:
            ids: one a document, not empty, none twice.
            vectors: one item a document. Converted to the index's dtype; int8 vectors are kept as
                they are in an int8 index.
            sources: a JSON text a document, kept as given, or None.

        Raises:
            InputError: for what cannot be kept, NaN and infinity too; names the documents.
        """
        if not len(ids) and not len(vectors):
            return
        none = [None] * len(ids)
        batch = Batch(self.settings, ids, vectors, none if sources is None else sources)
        with self._writer(f"appending {len(ids)} documents") as writer:
            writer.append(batch)
            writer.settle()

    def delete(self, ids: Sequence[str]) -> int:
        """Delete documents; ids that are not there are passed over. How many there were.

        Raises InputError for ids that are no list of texts.
        """
        with self._writer(f"deleting {len(ids)} documents") as writer:
            count = writer.delete(ids)
            writer.settle()
        return count

    def compact(self, *, progress: bool | None = None) -> None:
        """Give back the room of deleted documents, in steps that need little room themselves."""
        with self._writer("compacting") as writer:
            writer.compact(progress)

    def refresh(self) -> bool:
        """Show the state others have left; whether that is another one."""
        before = self._snapshot
        self._now = Snapshot.of(self._folder.path, before)
        return self._now is not before

    @classmethod
    def examine(cls, path: str | os.PathLike[str], *, progress: bool | None = None) -> Verification:
        """``verify`` for an index that cannot be opened. Never raises."""
        return verify(Path(path), None, progress)

    def verify(self, *, progress: bool | None = None) -> Verification:
        """Read every byte on the disk, and say what is damaged: it is not raised."""
        return verify(self._folder.path, self._snapshot, progress)

    def search(self, pooled: Tensor | NDArray[np.float32], top_k: int) -> list[Found]:
        """The nearest documents to each of ``pooled`` [n, pooled_dim] float32, the best first.

        Fewer than ``top_k`` where there are not so many. Equal ones are in the order they were
        appended in. Raises ConfigurationError, InputError for vectors of another shape.
        """
        if not isinstance(pooled, Tensor):
            pooled = torch.from_numpy(np.array(pooled, np.float32))  # torch dislikes read-only ones
        return self._search.find(lambda: self._snapshot, pooled, top_k)

    def score(
        self, encoder: RowScorer, queries: TokenVectors, ids: Sequence[str] | None = None
    ) -> NDArray[np.float32]:
        """[n_queries, n_ids] by ``encoder.score_rows``, over the mapped vectors of these documents.

        ``ids`` None: all documents, in the order of ``ids``. Raises UnknownDocumentError.
        """
        snapshot = self._snapshot
        places = snapshot.ordered if ids is None else snapshot.located(ids)
        scores = np.empty((len(queries), len(places.part)), np.float32)
        for rows in selections(snapshot, places):
            own = (rows.pool, rows.scales, rows.starts, rows.lengths, rows.pooled)
            scores[:, rows.places] = encoder.score_rows(queries, *own)
        return scores

    def rows(self, ids: Sequence[str]) -> Iterator[Rows]:
        """The vectors of documents, a segment at a time, not copied.

        Raises UnknownDocumentError.
        """
        snapshot = self._snapshot
        return selections(snapshot, snapshot.located(ids))

    def source(self, name: str) -> str | None:
        """What was given with a document. Raises UnknownDocumentError."""
        snapshot = self._snapshot
        return snapshot.texts("sources", snapshot.located([name]))[0] or None

    @property
    def ids(self) -> list[str]:
        """Of all documents, in the order they were appended in. Makes a new list."""
        snapshot = self._snapshot
        return snapshot.texts("ids", snapshot.ordered)

    def __len__(self) -> int:
        """Documents."""
        return self._snapshot.documents

    def __contains__(self, name: object) -> bool:
        """Whether there is a document of that id."""
        return isinstance(name, str) and bool((self._snapshot.find([name]).part >= 0).all())

    @property
    def path(self) -> Path:
        """Of the folder."""
        return self._folder.path

    @property
    def settings(self) -> Settings:
        """What it was created with: identity, encoder, dim, pooled_dim, dtype, ann."""
        return self._snapshot.manifest.settings

    @property
    def nbytes(self) -> dict[str, int]:
        """Bytes of its files by what they hold, see ``sizes``; the sum is that of the files."""
        return sizes(self._snapshot)

    def close(self) -> None:
        """Let go of the files. Tensors from ``rows`` stay valid."""
        self._open = False
        self._now = Snapshot(self._now.manifest, ())
        self._search = PooledSearch(self._folder.path, self._relink)

    def __enter__(self) -> Self:
        """Itself."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close."""
        self.close()

    @property
    def _snapshot(self) -> Snapshot:
        now = self._now
        if not self._open:
            raise VectorIndexError(f"{self._folder.path} is closed here: open it again")
        return now

    @contextlib.contextmanager
    def _writer(self, task: str, wait: float | None = None) -> Iterator[Writer]:
        seconds = self.wait_seconds if wait is None else wait
        with self._folder.locked(task, seconds), _complaining(self._folder):
            writer = Writer(self._folder, self._snapshot)
            try:
                yield writer
            except BaseException:
                with contextlib.suppress(OSError, VectorIndexError):
                    self._folder.sweep(manifest.load(self._folder.path))
                raise
            finally:
                with contextlib.suppress(VectorIndexError):
                    self._now = Snapshot.of(self._folder.path, self._now)

    def _relink(self, damaged: GraphEntry) -> None:
        """Make that graph anew, unless another has done so, or writes at this moment."""
        with self._writer("linking", wait=0.0) as writer:
            if writer.snapshot.manifest.graph == damaged:
                writer.link(anew=True)


@contextlib.contextmanager
def _complaining(folder: Folder) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise VectorIndexError(
            f"{folder.path} could not be written ({error}): it has every document it had. Make "
            "room, or make it writable, and try again"
        ) from error
