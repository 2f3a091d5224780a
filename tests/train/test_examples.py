"""JSONL and dataset folders to pairs; batches of pairs that keep their reused side together."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from minireranker.errors import ConfigurationError, InputError
from minireranker.train.examples import Examples, read_examples
from minireranker.train.plan import Bound, Group, batches, steps


def written(folder: Path, *rows: Any) -> Path:
    path = folder / "data.jsonl"
    lines = [row if isinstance(row, str) else json.dumps(row) for row in rows]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def test_both_forms_and_equal_contents(tmp_path: Path) -> None:
    path = written(
        tmp_path,
        {"query": "red", "document": {"image": "a.png"}, "label": True},
        "",
        {
            "query": {"text": "red"},
            "positives": [{"image": "./a.png", "id": "x"}],
            "negatives": ["blue", {"image": "a.png", "text": "red"}],
            "instruction": "Find it.",
        },
        {"query": {"image": "a.png"}, "document": "red", "label": 0.25},
    )
    examples = read_examples([path])
    red, picture, blue, both = range(4)
    found = [(p.query, p.document, p.label, p.instruction) for p in examples.pairs]
    assert found == [
        (red, picture, 1.0, None),
        (red, picture, 1.0, "Find it."),
        (red, blue, 0.0, "Find it."),
        (red, both, 0.0, "Find it."),
        (picture, red, 0.25, None),
    ]
    assert examples.contents[picture].images == (tmp_path / "a.png",)
    assert examples.origins == [f"{path}, line {n}" for n in (1, 1, 3, 3)]
    assert examples.digest() == read_examples([path]).digest()
    assert examples.digest() != read_examples([path, path]).digest()


@pytest.mark.parametrize(
    ("row", "what"),
    [
        ("{", "not JSON"),
        ("[1]", "a list; write one JSON object"),
        ({"document": "x", "label": 1}, "no query or document"),
        ({"query": "x"}, "no document"),
        ({"query": "x", "document": "y"}, "label = None"),
        ({"query": "x", "document": "y", "label": 1.5}, r"label = 1\.5"),
        ({"query": "x", "document": "y", "label": "1"}, "label = '1'"),
        ({"query": "x", "positives": "y"}, "positives is str"),
        ({"query": "x", "document": {"image": 3}, "label": 1}, "image = 3"),
        ({"query": "x", "document": " ", "label": 1}, "an empty side"),
        ({"query": "x", "document": "y", "label": 1, "instruction": 3}, "instruction = 3"),
        ('{"query": "x", "document": "y", "label": NaN}', "label = nan"),
        (
            {"query": "x", "document": "y", "label": 1, "negatives": ["z"]},
            "document and label beside positives or negatives",
        ),
        (
            {"query": "x", "document": {"text": "a", "importances": [1.0]}, "label": 1},
            "importances came without",
        ),
    ],
)
def test_a_line_that_is_wrong_is_named(tmp_path: Path, row: Any, what: str) -> None:
    path = written(tmp_path, {"query": "a", "document": "b", "label": 1}, row)
    with pytest.raises(InputError, match=rf"data\.jsonl, line 2: {what}"):
        read_examples([path])


def test_files_without_pairs(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="no pairs"):
        read_examples([written(tmp_path, "")])
    with pytest.raises(ConfigurationError, match=r"gone\.jsonl"):
        read_examples([tmp_path / "gone.jsonl"])


def test_a_dataset_folder(tmp_path: Path) -> None:
    Image.new("RGB", (32, 32)).save(tmp_path / "a.png")
    (tmp_path / "queries.jsonl").write_text('{"_id": "q", "text": "red"}\n')
    corpus = [{"_id": "a", "image": "a.png"}, {"_id": "b", "text": "blue"}]
    (tmp_path / "corpus.jsonl").write_text("".join(json.dumps(row) + "\n" for row in corpus))
    (tmp_path / "qrels.tsv").write_text("query-id\tcorpus-id\tscore\nq\ta\t2\nq\tb\t0\n")
    examples = read_examples([tmp_path])
    found = {examples.keys[pair.document]: pair.label for pair in examples.pairs}
    assert sorted(found.values()) == [0.0, 1.0], "grades are shares of the highest"
    assert found[next(key for key in found if "a.png" in key)] == 1.0


def test_a_key_that_nobody_reads_is_named_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    row = {"query": "red", "positives": ["a"], "negative": ["b"]}
    with caplog.at_level(logging.WARNING):
        read_examples([written(tmp_path, row, row)])
    (record,) = caplog.records
    assert "data.jsonl, line 1: 'negative' is not read" in record.getMessage()
    assert "negatives" in record.getMessage()


def test_labels_that_contradict_each_other_are_named(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    rows = [{"query": "red", "document": name, "label": 1} for name in ("a", "b", "a")]
    with caplog.at_level(logging.WARNING):
        read_examples([written(tmp_path, *rows)])
        assert not caplog.records, "said twice is no contradiction"
        read_examples([written(tmp_path, *rows, {"query": "red", "negatives": ["b", "c"]})])
    assert "1 pairs have another label" in caplog.text
    assert "the document of" in caplog.text


def dataset_with_splits(folder: Path) -> Path:
    """Two queries, one a split; all that was judged is relevant, as in most of BEIR."""
    names = ("q1", "q2")
    queries = [{"_id": name, "text": name} for name in names]
    corpus = [{"_id": f"d{at}", "text": f"document {at}"} for at in range(5)]
    for name, rows in (("queries", queries), ("corpus", corpus)):
        text = "".join(json.dumps(row) + "\n" for row in rows)
        (folder / f"{name}.jsonl").write_text(text, encoding="utf-8")
    (folder / "qrels").mkdir()
    for split, line in (("train", "q1\td1\t1"), ("test", "q2\td2\t1")):
        path = folder / "qrels" / f"{split}.tsv"
        path.write_text(f"query-id\tcorpus-id\tscore\n{line}\n", encoding="utf-8")
    return folder


def test_a_folder_is_trained_on_by_its_train_split_and_what_was_judged(tmp_path: Path) -> None:
    folder = dataset_with_splits(tmp_path)
    trained = read_examples([folder], to_train=True)
    found = [(trained.contents[p.query].texts, p.label) for p in trained.pairs]
    assert found == [(("q1",), 1.0)], "documents nobody judged are no negatives yet"
    measured = read_examples([folder])
    assert {measured.contents[p.query].texts for p in measured.pairs} == {("q2",)}
    assert len(measured.pairs) == 5, "all are ranked where nothing was judged irrelevant"


def groups_of(sizes: list[tuple[int, list[int]]]) -> list[Group]:
    out, at = [], 0
    for first, seconds in sizes:
        numbers = np.arange(at, at + len(seconds))
        out.append(Group(first, numbers, np.array(seconds, np.int64)))
        at += len(seconds)
    return out


SIZES = st.lists(
    st.tuples(st.integers(1, 90), st.lists(st.integers(1, 20), min_size=1, max_size=9)),
    min_size=1,
    max_size=12,
)


@given(sizes=SIZES, pairs=st.integers(1, 9), tokens=st.integers(1, 200), seed=st.integers(0, 9))
def test_batches_hold_every_pair_once_within_their_bound(
    sizes: list[tuple[int, list[int]]], pairs: int, tokens: int, seed: int
) -> None:
    groups, bound = groups_of(sizes), Bound(pairs, tokens)
    found = batches(groups, bound, (seed, 0))
    total = sum(len(seconds) for _, seconds in sizes)
    assert sorted(np.concatenate(found).tolist()) == list(range(total))
    first = {n: (at, g.first) for at, g in enumerate(groups) for n in g.numbers.tolist()}
    second = {n: int(s) for g in groups for n, s in zip(g.numbers, g.seconds, strict=True)}
    for batch in found:
        sides = dict(first[n] for n in batch.tolist())
        cost = sum(sides.values()) + sum(second[n] for n in batch.tolist())
        assert len(batch) <= pairs
        assert cost <= tokens or len(batch) == 1
        order = [first[n][0] for n in batch.tolist()]
        assert len([a for a, b in zip(order, [None, *order], strict=False) if a != b]) == len(sides)


def test_a_side_that_fits_one_batch_is_not_torn() -> None:
    groups = groups_of([(5, [1] * 3), (5, [1] * 4), (5, [1] * 3)])
    found = batches(groups, Bound(5, 100))
    assert [batch.tolist() for batch in found] == [[0, 1, 2], [3, 4, 5, 6], [7, 8, 9]]


def test_epochs_are_shuffled_by_the_seed() -> None:
    groups = groups_of([(5, [1] * 2)] * 9)
    plan = steps(groups, Bound(2, 100), seed=3, epochs=2, together=2)
    flat = [np.concatenate(step).tolist() for step in plan]
    assert [len(step) for step in plan] == [2, 2, 2, 2, 1] * 2
    assert flat[:5] != flat[5:], "another order each epoch"
    assert flat != [
        np.concatenate(s).tolist()
        for s in steps(groups, Bound(2, 100), seed=4, epochs=2, together=2)
    ]
    again = steps(groups, Bound(2, 100), seed=3, epochs=2, together=2, most=7)
    assert [np.concatenate(step).tolist() for step in again] == flat[:7]


def test_a_key_is_of_the_content() -> None:
    examples = Examples()
    assert examples.place({"text": "a"}, "x") == examples.place({"text": ["a"]}, "y") == 0
    assert examples.place({"text": ["a", "b"]}, "x") == 1
