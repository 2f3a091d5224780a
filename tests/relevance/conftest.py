"""Small datasets on disk, in the formats people have them in."""

import json

import pytest


def _rows(path, rows):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def _text(path, text):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return path


def _folder(folder, qrels="query-id\tcorpus-id\tscore\nq1\td1\t2\nq1\td2\t0\nq2\td3\t1\n"):
    """Three queries, two of them judged; four documents."""
    _rows(
        folder / "queries.jsonl",
        [
            {"_id": "q1", "text": "red"},
            {"_id": "q2", "image": "pictures/q2.png", "text": ""},
            {"_id": "q3", "text": "unjudged"},
        ],
    )
    _rows(
        folder / "corpus.jsonl",
        [
            {"_id": "d1", "title": "A title", "text": "a text"},
            {"_id": "d2", "image": "pictures/d2.png", "title": ""},
            {"_id": "d3", "video": ["f1.png", "f2.png"], "text": "frames"},
            {"_id": "d4", "text": "other", "metadata": {"year": 1}},
        ],
    )
    _text(folder / "qrels" / "test.tsv", qrels)
    return folder


@pytest.fixture(scope="session")
def write_rows():
    """``write_rows(path, rows)``: JSONL."""
    return _rows


@pytest.fixture(scope="session")
def write_text():
    """``write_text(path, text)``."""
    return _text


@pytest.fixture(scope="session")
def write_folder():
    """``write_folder(path, qrels=...)``: a dataset as BEIR has it."""
    return _folder
