"""One pass over documents: their vectors into an index, their entries into a reranker's cache."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from minireranker.engine.content import DocumentId
from minireranker.engine.given import given_documents
from minireranker.engine.progress import Progress
from minireranker.engine.reranker import Reranker
from minireranker.engine.types import Indexed, Timings, Work
from minireranker.errors import ConfigurationError, InputError, UnknownDocumentError

from .built import BuildTimes, Built, added
from .displaced import Displaced
from .importance import Importances
from .late_interaction import EncodedDocuments, LateInteraction
from .named_document import NamedDocument
from .parts import chosen, part_of
from .search_call import check_encoder
from .sources import DocumentSource
from .vector_index import VectorIndex

BATCH = 16
"""Documents encoded and appended at once: their token vectors are in memory together."""

GROUP = 256
"""Documents looked up at once."""


def build_index(
    documents: Iterable[Any],
    encoder: LateInteraction,
    index: VectorIndex,
    *,
    reranker: Reranker | None = None,
    instruction: str | None = None,
    progress: bool | None = None,
    batch: int = BATCH,
) -> Built:
    """Encode documents into ``index``, and read the same ones into ``reranker``'s cache.

    With a reranker that prunes, the encoder's pass also says which visual tokens are kept, where
    the encoder can: the embedder runs once. ``instruction`` is the reranker's, as in its ``index``.

    A document's id is its own, else the absolute path of the file it is, else a digest of its
    content; of several with one id the last is taken. One that is in the index unchanged (and in
    the reranker's cache) is skipped, without opening its files. After each ``batch`` what has been
    read is on the disk: a build that was killed goes on there when it is called again.

    Documents that fail are named in ``.failed``; where the reranker cannot read one, its vectors
    are left out too. Raises NoDocumentsError, ConfigurationError for another encoder's index,
    VectorIndexError where it cannot be written.
    """
    check_encoder(index, encoder)
    if type(batch) is not int or batch < 1:
        raise ConfigurationError(f"batch = {batch!r}: allowed is 1 or more")
    named = [NamedDocument.of(at, item) for at, item in enumerate(given_documents(documents))]
    with Progress("building", len(named), progress) as bar:
        build = _Build(encoder, index, reranker, instruction, bar)
        build.run(named, batch)
        build.displaced.warn(index.path)
    return build.answer(named)


class _Build:
    """A call of ``build_index``."""

    def __init__(
        self,
        encoder: LateInteraction,
        index: VectorIndex,
        reranker: Reranker | None,
        instruction: str | None,
        bar: Progress,
    ) -> None:
        self.encoder, self.index, self.instruction = encoder, index, instruction
        self.reranker, self.bar = reranker, bar
        self.importances = Importances(encoder, reranker)
        self.encoded = self.unchanged = 0
        self.last: dict[str, NamedDocument] = {}
        """Of the documents with one id the one that counts."""
        self.seconds = dict.fromkeys(("lookup", "encode", "rerank", "append"), 0.0)
        self.work, self.timings = Work(), Timings()
        self.displaced = Displaced()

    def run(self, named: Sequence[NamedDocument], batch: int) -> None:
        """All of them, in groups."""
        sound = [item for item in named if item.error is None]
        self.last = {item.id: item for item in sound}
        mine = [item for item in sound if self.last[item.id] is item]
        self.bar.advance(len(named) - len(mine))
        for group in _cut(mine, GROUP):
            with self._timed("lookup"):
                kept = self._unchanged(group)
            self.unchanged += len(kept)
            self.bar.advance(len(kept))
            held = set(map(id, kept))
            for part in _cut([item for item in group if id(item) not in held], batch):
                self._add(part)
                self.bar.advance(len(part))

    def answer(self, named: Sequence[NamedDocument]) -> Built:
        """What became of the documents."""
        final = [item if item.error is not None else self.last[item.id] for item in named]
        return Built(
            tuple(None if item.error else DocumentId(item.id) for item in final),
            tuple(item.failure for item in named if item.failure is not None),
            self.encoded,
            self.unchanged,
            BuildTimes(**self.seconds),
            tuple(item.key for item in final),
            self.work,
            self.timings,
        )

    def _unchanged(self, group: Sequence[NamedDocument]) -> list[NamedDocument]:
        """Those that need nothing; takes the stamps of all."""
        kept = []
        for item in group:
            item.look()
            source = self._source(item.id)
            if source is None or item.stamp is None or source.stamp != item.stamp:
                continue
            if self.reranker is None or self.reranker.namespace.name in source.rerankers:
                kept.append(item)
        if self.reranker is None or not kept:
            return kept
        found = self._index([DocumentId(item.id) for item in kept])
        for item, key in zip(kept, found.keys, strict=True):
            item.key = key
        return [item for item, name in zip(kept, found.ids, strict=True) if name is not None]

    def _source(self, name: str) -> DocumentSource | None:
        try:
            return DocumentSource.from_json(self.index.source(name))
        except UnknownDocumentError:
            return None

    def _add(self, part: Sequence[NamedDocument]) -> None:
        with self._timed("encode"):
            found = self.encoder.encode_documents(
                [item.document for item in part],
                importances=self.importances.are_wanted,
                progress=False,
            )
        for failed in found.failed:
            part[failed.index].error = failed.error
        sound = [part[place] for place in found.places]
        if self.reranker is not None and sound:
            with self._timed("rerank"):
                self._read(sound, found)
        with self._timed("append"):
            self._append(sound, found)

    def _read(self, sound: Sequence[NamedDocument], found: EncodedDocuments) -> None:
        """Into the reranker's cache; what fails there has failed."""
        worth = found.importances or ((),) * len(sound)
        guided = map(self.importances.given_to, sound, worth)
        able = [(item, each) for item, each in zip(sound, guided, strict=True) if each is not None]
        if not able:
            return
        indexed = self._index([document for _, document in able])
        for failed in indexed.failed:
            able[failed.index][0].error = failed.error
        for (item, _), key in zip(able, indexed.keys, strict=True):
            item.key = key

    def _index(self, documents: Sequence[Any]) -> Indexed:
        assert self.reranker is not None, "only called with one"
        found = self.reranker.index(documents, instruction=self.instruction, progress=False)
        self.work, self.timings = added(self.work, found.work), added(self.timings, found.timings)
        return found

    def _append(self, sound: Sequence[NamedDocument], found: EncodedDocuments) -> None:
        places = [at for at, item in enumerate(sound) if item.error is None]
        items, vectors = [sound[at] for at in places], chosen(found.vectors, places)
        if not items:
            return
        names, sources = [item.id for item in items], [self._kept_of(item) for item in items]
        try:
            self.index.append(names, vectors, sources)
        except InputError:
            for at, item in enumerate(items):
                self._append_one(item, at, vectors, sources[at])
        self.encoded += sum(item.error is None for item in items)

    def _append_one(self, item: NamedDocument, at: int, vectors: Any, source: str) -> None:
        try:
            self.index.append([item.id], part_of(vectors, at, at + 1), [source])
        except InputError as error:
            item.error = error

    def _kept_of(self, item: NamedDocument) -> str:
        names = () if self.reranker is None else (self.reranker.namespace.name,)
        before = self._source(item.id)
        if before is not None and item.stamp is not None and before.stamp == item.stamp:
            names = tuple(dict.fromkeys((*before.rerankers, *names)))
        now = DocumentSource.of(item.document.content, item.stamp, names)
        self.displaced.note(item.id, before, now)
        return now.to_json()

    @contextmanager
    def _timed(self, what: str) -> Iterator[None]:
        start = time.perf_counter()
        try:
            yield
        finally:
            self.seconds[what] += time.perf_counter() - start


def _cut(items: Sequence[NamedDocument], size: int) -> Iterator[Sequence[NamedDocument]]:
    for first in range(0, len(items), size):
        yield items[first : first + size]
