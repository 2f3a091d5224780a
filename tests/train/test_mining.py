"""Hard negatives come from the first of a retriever, chance ones from anywhere, by a seed."""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from minireranker import Document, Embedder
from minireranker.engine.content import Content
from minireranker.errors import ConfigurationError, InputError, NoDocumentsError
from minireranker.retrieval import VectorIndex, build_index
from minireranker.retrieval.late_interaction import Pooled
from minireranker.train.examples import Examples, read_examples
from minireranker.train.mining import MiningSettings, Search, mine
from minireranker.train.searching import embedder_search, index_search

CORPUS = [Document(text=f"document {at}", id=str(at)) for at in range(50)]


def positives(folder: Path) -> Examples:
    rows = [
        {"query": "one", "positives": ["document 0", "document 3"], "negatives": ["document 1"]},
        {"query": "two", "document": "document 7", "label": 1, "instruction": "Find it."},
        {"query": "none", "document": "document 9", "label": 0},
    ]
    path = folder / "positives.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return read_examples([path])


def in_order(queries: Sequence[Content], depth: int) -> list[list[int]]:
    """A retriever that finds the corpus in its order for everybody."""
    return [list(range(len(CORPUS)))[:depth] for _ in queries]


def mined(folder: Path, settings: MiningSettings, search: Search = in_order) -> list[dict]:
    out = folder / "mined.jsonl"
    mine(positives(folder), CORPUS, search, out, settings)
    return [json.loads(line) for line in out.read_text(encoding="utf-8").splitlines()]


def test_two_hard_and_two_random_a_positive(tmp_path: Path) -> None:
    one, two = mined(tmp_path, MiningSettings(seed=5))
    assert one["positives"] == ["document 0", "document 3"]
    assert (two["query"], two["instruction"]) == ("two", "Find it.")
    assert one["negatives"][0] == "document 1", "judged before"
    assert (len(one["negatives"]), len(two["negatives"])) == (1 + 8, 4)
    for row, count in ((one, 4), (two, 2)):
        assert len(set(row["negatives"])) == len(row["negatives"])
        assert not set(row["negatives"]) & set(row["positives"])
        start = 1 if row is one else 0
        hard = [int(text.split()[1]) for text in row["negatives"][start : start + count]]
        # The first 20 that nobody judged: of "one" 0, 1 and 3 are taken, of "two" 7.
        assert max(hard) < (23 if row is one else 21)
        assert hard == sorted(hard)
    assert mined(tmp_path, MiningSettings(seed=5)) == [one, two]
    assert mined(tmp_path, MiningSettings(seed=6)) != [one, two]
    examples = read_examples([tmp_path / "mined.jsonl"])
    assert len(examples.pairs) == 11 + 5


def test_a_corpus_that_runs_out(tmp_path: Path) -> None:
    out = tmp_path / "mined.jsonl"
    found = mine(positives(tmp_path), CORPUS[:4], lambda q, k: [[0, 2]] * len(q), out)
    assert (found.queries, found.positives) == (2, 3)
    one, two = (json.loads(line) for line in out.read_text().splitlines())
    assert one["negatives"] == ["document 1", "document 2"]
    assert sorted(two["negatives"]) == [f"document {at}" for at in range(4)]


def test_neither_the_positive_nor_the_query_is_mined(tmp_path: Path) -> None:
    """However the corpus describes the one, and wherever the other lies in it."""
    Image.new("RGB", (64, 64)).save(tmp_path / "a.png")
    (tmp_path / "deep").mkdir()
    worth = [1.0, 2.0, 3.0, 4.0]
    rows = [
        {"query": "one", "positives": [{"image": "../a.png", "importances": worth}]},
        {"query": "document 4", "positives": ["document 2"]},
    ]
    path = tmp_path / "deep" / "positives.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    corpus = [Document(image=tmp_path / "a.png"), *CORPUS[2:6]]
    out = tmp_path / "mined.jsonl"
    depth = []

    def everything(queries: Sequence[Content], most: int) -> list[list[int]]:
        depth.append(most)
        return [[0, 3, 1, 2, 4][:most] for _ in queries]

    mine(read_examples([path]), corpus, everything, out, MiningSettings(hard=9, random=9, depth=9))
    one, two = (json.loads(line) for line in out.read_text(encoding="utf-8").splitlines())
    assert depth == [11], "room for one that is known, and the query"
    assert sorted(one["negatives"]) == [f"document {at}" for at in (2, 3, 4, 5)]
    texts = sorted(item for item in two["negatives"] if isinstance(item, str))
    assert (texts, len(two["negatives"])) == (["document 3", "document 5"], 3)


def test_labels_are_kept(tmp_path: Path) -> None:
    """Graded ones as they are; of two for one pair the higher; a positive said twice is one."""
    judged = [("a", 1), ("a", 1), ("b", 0.7), ("c", 0.3), ("d", 0), ("e", 1), ("e", 0)]
    path = tmp_path / "positives.jsonl"
    rows = [{"query": "one", "document": text, "label": label} for text, label in judged]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    out = tmp_path / "mined.jsonl"
    done = mine(read_examples([path]), CORPUS, in_order, out, MiningSettings(hard=2, random=0))
    assert (done.queries, done.positives, done.negatives) == (1, 3, 2 + 6)
    mined_back = read_examples([out])
    found = {mined_back.contents[p.document].texts[0]: p.label for p in mined_back.pairs}
    drawn = {text: label for text, label in found.items() if text.startswith("document")}
    assert list(drawn.values()) == [0.0] * 6
    assert {text: found[text] for text in "abcde"} == {"a": 1, "b": 0.7, "c": 0.3, "d": 0, "e": 1}


def test_what_cannot_be_read_or_named_is_left_out(
    tiny: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A query with a broken picture, and a document that no line of JSON can hold."""
    embedder = Embedder.from_pretrained(tiny, dtype="float32")
    corpus = [Document(image=np.zeros((32, 32, 3), np.uint8), id="page 3"), *CORPUS[:4]]
    with caplog.at_level(logging.WARNING):
        sound, search = embedder_search(embedder, corpus, progress=False)
    assert [document.id for document in sound] == ["0", "1", "2", "3"]
    assert "page 3 cannot be named in a line of JSON" in caplog.text
    (tmp_path / "cut.png").write_bytes(b"no picture")
    rows = [
        {"query": {"image": "cut.png"}, "positives": ["document 1"]},
        {"query": "two", "positives": ["document 2"]},
    ]
    path = tmp_path / "positives.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    examples, out = read_examples([path]), tmp_path / "mined.jsonl"
    encoder = Pooled(embedder)
    given = {"identity": encoder.identity, "encoder": "pooled", "dim": 0, "dtype": "float32"}
    with VectorIndex.create(tmp_path / "index", pooled_dim=encoder.pooled_dim, **given) as index:
        build_index(corpus, encoder, index, progress=False)
        indexed = index_search(index, encoder, progress=False)
        for documents, find in ((sound, search), indexed):
            caplog.clear()
            with caplog.at_level(logging.WARNING):
                done = mine(examples, documents, find, out, MiningSettings(1, 1))
            assert "a query is left out" in caplog.text
            assert "cut.png" in caplog.text
            assert (done.queries, done.positives, done.negatives) == (1, 1, 2)
            examples_left = [json.loads(line)["query"] for line in out.read_text().splitlines()]
            assert examples_left == ["two"]
    examples.pairs = examples.pairs[:1]
    with pytest.raises(ConfigurationError, match="nothing is found for any query"):
        mine(examples, sound, search, out)


def test_what_cannot_be_mined(tmp_path: Path) -> None:
    found, out = positives(tmp_path), tmp_path / "out.jsonl"
    with pytest.raises(NoDocumentsError, match="corpus is empty"):
        mine(found, [], in_order, out)
    pixels = np.zeros((32, 32, 3), np.uint8)
    with pytest.raises(InputError, match="write it to a file"):
        mine(found, [Document(image=pixels)] * 50, in_order, out)
    found.pairs = [pair for pair in found.pairs if pair.label == 0]
    with pytest.raises(ConfigurationError, match="no pair has a label"):
        mine(found, CORPUS, in_order, out)
    assert not out.exists()
    with pytest.raises(ConfigurationError, match="hard = 3: allowed is up to depth = 2"):
        MiningSettings(hard=3, depth=2)


def test_an_embedder_and_an_index_find_the_same(
    tiny: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    embedder = Embedder.from_pretrained(tiny, dtype="float32")
    pictures = []
    for at in range(3):
        pictures.append(tmp_path / f"{at}.png")
        Image.effect_noise((64, 64), 40 + 20 * at).save(pictures[-1])
    (tmp_path / "no.png").write_bytes(b"none")
    texts = [Document(text=f"page {at}", id=f"t{at}") for at in range(4)]
    corpus = [*texts, *(Document(image=path, id=path.name) for path in pictures)]
    with caplog.at_level(logging.WARNING):
        broken = Document(image=tmp_path / "no.png", id="no")
        sound, search = embedder_search(embedder, [broken, *corpus], progress=False)
    assert [document.id for document in sound] == [document.id for document in corpus]
    assert "no.png" in caplog.text
    queries = [Document.of(value).content for value in ("page 2", pictures[1])]
    found = search(queries, 3)
    assert [len(places) for places in found] == [3, 3]
    encoder = Pooled(embedder)
    with VectorIndex.create(
        tmp_path / "index",
        identity=encoder.identity,
        encoder="pooled",
        dim=0,
        pooled_dim=encoder.pooled_dim,
        dtype="float32",
    ) as index:
        build_index(corpus, encoder, index, progress=False)
        known, indexed = index_search(index, encoder, progress=False)
        names = [[known[at].id for at in places] for places in indexed(queries, 3)]
        assert names == [[sound[at].id for at in places] for places in found]
        (picture,) = [document for document in known if document.id == "1.png"]
        assert picture.content.images == (str(pictures[1]),)
