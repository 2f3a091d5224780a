"""Datasets in one JSONL file: the same content is one, rows are labels."""

import pytest

from minireranker.errors import ConfigurationError, InputError
from minireranker.relevance import open_dataset

ROWS = [
    {"query": "red", "document": {"image": "a.png"}, "label": True},
    {"query": "red", "document": "a text", "label": 0.25, "instruction": None},
    {"query": {"text": "red"}, "document": {"image": "b.png", "id": "bee"}, "label": 0},
    {"query": "blue", "positives": [{"image": "b.png", "id": "bee"}], "negatives": ["a text"]},
    {"query": "red", "document": "a text", "label": 1, "instruction": "Find it."},
]


def test_rows_become_queries_documents_and_grades(tmp_path, write_rows):
    found = open_dataset(write_rows(tmp_path / "pairs.jsonl", ROWS))
    assert found.name == "pairs"
    assert found.qrels == {
        "q1": {"d1": 1.0, "d2": 0.25, "bee": 0.0},
        "q2": {"bee": 1.0, "d2": 0.0},
        "q3": {"d2": 1.0},
    }
    assert found.documents["d1"].content.images == (tmp_path / "a.png",)
    assert found.documents["bee"].id == "bee"
    assert found.queries["q3"].content.texts == ("red",)
    assert [found.instruction_of(name) for name in found.queries] == [None, None, "Find it."]


def test_candidates_are_what_a_query_was_labelled_with(tmp_path, write_rows):
    found = open_dataset(write_rows(tmp_path / "pairs.jsonl", ROWS))
    assert not found.is_ranked
    assert {name: sorted(listed) for name, listed in found.candidates.items()} == {
        "q1": ["bee", "d1", "d2"],
        "q2": ["bee", "d2"],
        "q3": ["bee", "d1", "d2"],
    }


def test_a_sample_keeps_what_it_needs(tmp_path, write_rows):
    rows = [
        {"query": f"q {at}", "positives": [f"p {at}"], "negatives": [f"n {at}"]} for at in range(9)
    ]
    found = open_dataset(write_rows(tmp_path / "pairs.jsonl", rows))
    drawn = found.sample(3, seed=1)
    assert len(drawn.queries) == len(drawn.qrels) == len(drawn.candidates) == 3
    assert len(drawn.documents) == drawn.pairs == 6
    assert list(drawn.queries) == [name for name in found.queries if name in drawn.queries]
    assert list(found.sample(3, seed=2).queries) != list(drawn.queries)
    assert list(found.sample(99).queries) == list(found.queries)
    assert found.top(1).pairs == len(found.top(1).documents) == 9
    with pytest.raises(ConfigurationError, match="0 queries"):
        found.sample(0)
    with pytest.raises(ConfigurationError, match="0 candidates"):
        found.top(0)


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"query": "a", "document": "b"}, "label = None"),
        ({"query": "a", "document": "b", "label": 2}, "label = 2"),
        ({"query": "a", "document": "b", "label": "yes"}, "label = 'yes'"),
        ({"query": "a"}, "no document"),
        ({"document": "b", "label": 1}, "no query or document"),
        ({"query": "a", "positives": "b"}, "positives = 'b'"),
        ({"query": "a", "document": {"picture": "b"}, "label": 1}, "there is no content"),
        ({"query": "a", "document": 3, "label": 1}, "3 is no content"),
        ({"query": "a", "document": "b", "label": 1, "instruction": 5}, "instruction = 5"),
        ({"query": "ok", "document": {"text": "x", "id": "bee"}, "label": 1}, "'bee' has another"),
        ({"query": "red", "document": {"image": "a.png"}, "label": 0}, "has 0 here and 1 before"),
    ],
)
def test_what_is_wrong_is_named_with_file_and_line(tmp_path, row, message, write_rows):
    path = write_rows(tmp_path / "pairs.jsonl", [*ROWS, row])
    with pytest.raises(InputError, match=f"pairs.jsonl, line 6: .*{message}"):
        open_dataset(path)


def test_an_empty_file_and_a_split_are_refused(tmp_path, write_text):
    path = write_text(tmp_path / "pairs.jsonl", "\n")
    with pytest.raises(InputError, match="there is no pair in it"):
        open_dataset(path)
    with pytest.raises(ConfigurationError, match="leave the split out"):
        open_dataset(path, split="dev")
