"""Building: one pass gives vectors and entries, goes on where it was, and names what failed."""

from __future__ import annotations

import dataclasses
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from minireranker import Document, Reranker
from minireranker.configs import resolve_profile
from minireranker.engine.embedder import Embedder
from minireranker.errors import (
    ConfigurationError,
    ImportanceError,
    InputError,
    MediaError,
    NoDocumentsError,
)
from minireranker.retrieval.building import build_index
from minireranker.retrieval.cascade import Cascade
from minireranker.retrieval.late_interaction import ColModernVBert, Pooled, Smart
from minireranker.retrieval.late_interaction.synth import synthesize_colmodernvbert
from minireranker.retrieval.rerank import Rerank
from minireranker.retrieval.stages import Rescore, Retrieve
from minireranker.retrieval.vector_index import VectorIndex

QUERY = "a red bicycle"
Draw = Callable[..., Any]


def make(path: Path, encoder: Any) -> VectorIndex:
    sizes = {"dim": encoder.dim, "pooled_dim": encoder.pooled_dim}
    return VectorIndex.create(
        path, identity=encoder.identity, encoder=encoder.name, dtype="float32", **sizes
    )


def age(*paths: Path) -> None:
    """As if written an hour ago: a file changed just now is not trusted."""
    for path in paths:
        os.utime(path, (time.time() - 3600,) * 2)
    time.sleep(0.06)


class Counted:
    """An encoder that counts the documents it is asked to encode, and notes how."""

    def __init__(self, inner: Any) -> None:
        self.inner, self.documents = inner, 0
        self.asked: dict[str, Any] = {}

    def __getattr__(self, name: str) -> Any:
        return getattr(self.inner, name)

    def encode_documents(self, documents: Any, **asked: Any) -> Any:
        self.documents += len(documents)
        self.asked = asked
        return self.inner.encode_documents(documents, **asked)


@pytest.fixture(scope="module")
def embedder(tiny: Path) -> Embedder:
    return Embedder.from_pretrained(tiny, dtype="float32")


@pytest.fixture
def smart(embedder: Embedder) -> Counted:
    return Counted(Smart(embedder))


@pytest.fixture
def files(tmp_path: Path, picture: Draw) -> list[Path]:
    paths = [tmp_path / f"{at}.png" for at in range(4)]
    for at, path in enumerate(paths):
        Image.fromarray(picture(96, 128, at)).save(path)
    age(*paths)
    return paths


@pytest.fixture
def pruning(tiny: Path, embedder: Embedder) -> Reranker:
    """Keeps half of the visual tokens, those its embedder says."""
    return Reranker.from_pretrained(tiny, dtype="float32", embedder=embedder, keep_ratio=0.5)


def test_one_pass_gives_vectors_and_what_is_kept(
    smart: Counted, files: list[Path], pruning: Reranker, tiny: Path, tmp_path: Path
) -> None:
    fresh = Reranker.from_pretrained(
        tiny, dtype="float32", embedder=pruning.embedder, keep_ratio=0.5
    )
    wanted = fresh.rank(QUERY, files)
    assert wanted.work.embedder_token_layers > 0
    with make(tmp_path / "index", smart) as index:
        built = build_index(files, smart, index, reranker=pruning)
        assert (len(built), built.encoded, built.unchanged, built.failed) == (4, 4, 0, ())
        assert built.work.embedder_token_layers == 0, "the encoder has said what is kept"
        assert built.work.cache_misses == 4
        assert all(key in pruning.cache for key in built.keys)
        times = dataclasses.asdict(built.times)
        assert all(seconds > 0 for seconds in times.values())
        assert built.times.total == pytest.approx(sum(times.values()))
        found = Cascade([Retrieve(index, smart), Rerank(pruning, None)]).search(QUERY)
        assert [hit.id for hit in found] == [str(hit.document) for hit in wanted]
        assert [hit.score for hit in found] == [hit.score for hit in wanted]
        assert found[0].source is not None
        assert found[0].source["file"] == found[0].id


def test_without_pruning_no_importances_are_asked_for(
    smart: Counted, files: list[Path], mini: Reranker, tmp_path: Path
) -> None:
    with make(tmp_path / "index", smart) as index:
        build_index(files, smart, index, reranker=mini)
        assert smart.asked["importances"] is False
        found = Cascade([Rescore(index, smart, None), Rerank(mini, None)]).search(QUERY)
        assert [hit.score for hit in found] == [hit.score for hit in mini.rank(QUERY, files)]


def test_other_sizes_than_the_rerankers(
    smart: Counted, files: list[Path], embedder: Embedder, tiny: Path, tmp_path: Path
) -> None:
    profile = resolve_profile("mini", layers=7, hidden_size=64, checkpoint=tiny)
    limits = dataclasses.replace(profile.limits, max_pixels=4096)
    profile = dataclasses.replace(profile, limits=limits, keep_ratio=0.5)
    load = {"profile": profile, "dtype": "float32", "embedder": embedder}
    wanted = Reranker.from_pretrained(tiny, **load).rank(QUERY, files)
    assert wanted.work.importances_resampled == 4
    reranker = Reranker.from_pretrained(tiny, **load)
    with make(tmp_path / "index", smart) as index:
        built = build_index(files, smart, index, reranker=reranker)
        assert (built.work.embedder_token_layers, built.failed) == (0, ())
        found = Cascade([Retrieve(index, smart), Rerank(reranker, None)]).search(QUERY)
    assert [hit.score for hit in found] == [hit.score for hit in wanted]


def test_what_is_there_is_not_encoded_again(
    smart: Counted, files: list[Path], picture: Draw, tmp_path: Path
) -> None:
    image = Image.fromarray(picture(64, 64))
    documents = [*files, "a boat", picture(64, 80), image, Document(text="a tree", id="tree")]
    with make(tmp_path / "index", smart) as index:
        first = build_index(documents, smart, index)
        assert (first.encoded, smart.documents) == (8, 8)
        second = build_index(documents, smart, index)
        assert (second.encoded, second.unchanged, smart.documents) == (0, 8, 8)
        assert (second.ids, len(index)) == (first.ids, 8)


def test_what_has_changed_takes_its_own_place(
    smart: Counted, files: list[Path], picture: Draw, tmp_path: Path
) -> None:
    with make(tmp_path / "index", smart) as index:
        build_index([*files, Document(text="a boat", id="x")], smart, index)
        Image.fromarray(picture(96, 128, 99)).save(files[1])
        age(files[1])
        built = build_index([*files, Document(text="a ship", id="x")], smart, index)
        assert (built.encoded, built.unchanged, len(index)) == (2, 3, 5)
        queries = smart.encode_queries("a ship")
        wanted = smart.score(queries, smart.inner.encode_documents([files[1], "a ship"]).vectors)
        found = index.score(smart, queries, [str(files[1]), "x"])
        np.testing.assert_allclose(found, wanted, atol=1e-5)


def test_ids(smart: Counted, files: list[Path], picture: Draw, tmp_path: Path) -> None:
    pixels = picture(64, 64)
    documents = [files[0], Document(image=files[0], id="own"), "a boat", "a boat", pixels]
    documents += [pixels.copy(), picture(64, 64, 1), Document(text="a boat", image=files[0])]
    with make(tmp_path / "index", smart) as index:
        ids = build_index(documents, smart, index).ids
        assert ids[:2] == (str(files[0]), "own")
        assert (ids[2], ids[4]) == (ids[3], ids[5]), "equal contents are one document"
        assert len(set(ids)) == len(index) == 6
        assert all(len(name or "") == 64 for name in ids[2:])


def test_of_several_with_one_id_the_last_counts(smart: Counted, tmp_path: Path) -> None:
    documents = [Document(text=text, id="x") for text in ("a boat", "a ship", "a raft")]
    with make(tmp_path / "index", smart) as index:
        built = build_index(documents, smart, index)
        assert (built.ids, built.encoded) == (("x",) * 3, 1)
        assert json.loads(index.source("x") or "")["content"]["texts"] == ["a raft"]
        assert build_index(documents, smart, index).unchanged == 1


def test_bad_documents_are_named_and_the_others_go_on(
    smart: Counted, files: list[Path], pruning: Reranker, tmp_path: Path
) -> None:
    files[2].write_text("no picture")
    documents: list[Any] = [
        *files,
        {"txt": "a boat"},
        Document(image=files[0], id="worth nothing", importances=[np.ones(3)]),
        Document(id="only a name"),
        Document(image=lambda: Image.new("RGB", (64, 64))),
        Document(text="a boat", id=""),
        Document(text="a boat", id="\ud800"),
    ]
    with make(tmp_path / "index", smart) as index:
        built = build_index(documents, smart, index, reranker=pruning, batch=3)
        assert [(each.index, type(each.error)) for each in built.failed] == [
            (2, MediaError),
            (4, InputError),
            (5, ImportanceError),
            (6, InputError),
            (7, InputError),
            (8, InputError),
            (9, InputError),
        ]
        assert [name is None for name in built.ids] == [False, False, True, False, *(True,) * 6]
        assert index.ids == [name for name in built.ids if name is not None]
        assert built.failed[2].document is documents[5]
        assert built.encoded == 3


def test_a_function_needs_an_id_and_is_called_each_time(smart: Counted, tmp_path: Path) -> None:
    document = Document(image=lambda: Image.new("RGB", (64, 64), "red"), id="made")
    with make(tmp_path / "index", smart) as index:
        for _ in range(2):
            assert build_index([document], smart, index).encoded == 1
        assert index.ids == ["made"]


def test_a_reranker_that_comes_later_gets_its_entries(
    smart: Counted, files: list[Path], pruning: Reranker, tmp_path: Path
) -> None:
    with make(tmp_path / "index", smart) as index:
        build_index(files, smart, index)
        assert build_index(files, smart, index, reranker=pruning).encoded == 4
        again = build_index(files, smart, index, reranker=pruning)
        assert (again.unchanged, again.work.cache_hits, again.work.cache_misses) == (4, 4, 0)
        assert all(key in pruning.cache for key in again.keys)
        assert build_index(files, smart, index).unchanged == 4


def test_two_rerankers_over_one_index(
    smart: Counted, files: list[Path], pruning: Reranker, mini: Reranker, tmp_path: Path
) -> None:
    with make(tmp_path / "index", smart) as index:
        for reranker in (pruning, mini):
            assert build_index(files, smart, index, reranker=reranker).encoded == 4
        for reranker in (pruning, mini):
            assert build_index(files, smart, index, reranker=reranker).unchanged == 4


def test_an_entry_of_what_a_file_was_is_not_taken_for_it(
    smart: Counted, files: list[Path], pruning: Reranker, picture: Draw, tmp_path: Path
) -> None:
    with make(tmp_path / "index", smart) as index:
        old = build_index(files, smart, index, reranker=pruning)
        Image.fromarray(picture(96, 128, 99)).save(files[1])
        age(files[1])
        build_index(files, smart, index)
        new = build_index(files, smart, index, reranker=pruning)
        assert (new.encoded, new.unchanged) == (1, 3)
        assert [a == b for a, b in zip(old.keys, new.keys, strict=True)] == [
            True,
            False,
            True,
            True,
        ]


def test_entries_that_are_gone_are_made_again(
    smart: Counted, files: list[Path], tiny: Path, embedder: Embedder, tmp_path: Path
) -> None:
    def load(folder: Path) -> Reranker:
        return Reranker.from_pretrained(
            tiny, dtype="float32", embedder=embedder, keep_ratio=0.5, cache=folder
        )

    with make(tmp_path / "index", smart) as index:
        first = load(tmp_path / "one")
        built = build_index(files, smart, index, reranker=first)
        first.cache.delete([key for key in built.keys if key][:2])
        again = build_index(files, smart, index, reranker=first)
        assert (again.unchanged, again.work.cache_misses) == (4, 2), "read again where it was"
        assert again.work.embedder_token_layers == 0
        other = build_index(files, smart, index, reranker=load(tmp_path / "two"))
        assert (other.encoded, other.keys) == (4, built.keys)
        first.cache.close()


def test_systems_without_tokens_and_without_a_pooled_vector(
    embedder: Embedder, files: list[Path], tmp_path: Path
) -> None:
    other = ColModernVBert.from_pretrained(synthesize_colmodernvbert(tmp_path / "model"))
    for encoder in (Pooled(embedder, 16), other):
        with make(tmp_path / encoder.name, encoder) as index:
            assert build_index(files, encoder, index).encoded == 4
            found = Cascade([Rescore(index, encoder, 2)]).search(QUERY)
            wanted = encoder.score(
                encoder.encode_queries(QUERY), encoder.encode_documents(files).vectors
            )[0]
            assert [hit.score for hit in found] == pytest.approx(sorted(wanted)[::-1][:2], abs=1e-5)


def test_an_encoder_that_cannot_say_what_is_kept(
    files: list[Path], tiny: Path, tmp_path: Path
) -> None:
    encoder = ColModernVBert.from_pretrained(synthesize_colmodernvbert(tmp_path / "model"))
    reranker = Reranker.from_pretrained(tiny, dtype="float32", keep_ratio=0.5)
    with make(tmp_path / "index", encoder) as index:
        built = build_index([*files, "a boat"], encoder, index, reranker=reranker)
        assert [type(each.error) for each in built.failed] == [ImportanceError] * 4
        assert len(index) == 1


def test_calls_that_cannot_be(smart: Counted, tmp_path: Path) -> None:
    with make(tmp_path / "index", smart) as index:
        with pytest.raises(NoDocumentsError):
            build_index([], smart, index)
        for batch in (0, 1.5, True):
            with pytest.raises(ConfigurationError, match="batch = "):
                build_index(["a boat"], smart, index, batch=batch)  # type: ignore[arg-type]


BUILDER = """
import sys
from minireranker import Cache, Reranker
from minireranker.engine.embedder import Embedder
from minireranker.retrieval.building import build_index
from minireranker.retrieval.late_interaction import Smart
from minireranker.retrieval.vector_index import VectorIndex
model, folder, cache, *texts = sys.argv[1:]
smart = Smart(Embedder.from_pretrained(model, dtype="float32"))
reranker = Reranker.from_pretrained(
    model, dtype="float32", embedder=smart.embedder, keep_ratio=0.5, cache=cache
)
build_index(texts, smart, VectorIndex.open(folder), reranker=reranker, batch=2)
"""


def test_a_killed_build_goes_on_where_it_was(
    smart: Counted, tiny: Path, embedder: Embedder, tmp_path: Path
) -> None:
    texts = [f"text number {at} about a boat " * 4 for at in range(1500)]
    with make(tmp_path / "index", smart) as index:
        places = str(tiny), str(tmp_path / "index"), str(tmp_path / "cache")
        command = [sys.executable, "-P", "-c", BUILDER, *places, *texts]
        with subprocess.Popen(command, stderr=subprocess.PIPE) as process:
            while len(index) < 6 and process.poll() is None:
                time.sleep(0.01)
                index.refresh()
            os.kill(process.pid, signal.SIGKILL)
            _, errors = process.communicate(timeout=60)
        assert process.returncode == -signal.SIGKILL, errors.decode()
        index.refresh()
        assert index.verify().sound
        kept = len(index)
        assert 6 <= kept < 1400
        some = texts[: kept + 4]
        reranker = Reranker.from_pretrained(
            tiny, dtype="float32", embedder=embedder, keep_ratio=0.5, cache=tmp_path / "cache"
        )
        built = build_index(some, smart, index, reranker=reranker)
        assert built.encoded + built.unchanged == kept + 4
        assert built.encoded == 4, "an entry is written before its vectors"
        assert index.ids == list(built.ids)
        queries = smart.encode_queries(QUERY)
        wanted = smart.score(queries, smart.inner.encode_documents(some).vectors)
        np.testing.assert_allclose(index.score(smart, queries), wanted, atol=1e-5)
        reranker.cache.close()
