"""Datasets in folders: what is read from where, and what is refused with file and line."""

import re

import pytest

from minireranker.errors import ConfigurationError, InputError
from minireranker.relevance import open_dataset

TREC_RUN = "q1 Q0 d2 1 0.5 bm25\nq1 Q0 d4 2 0.9 bm25\nq2 Q0 d3 1 7 bm25\nq2 Q0 d1 2 7 bm25\n"


@pytest.fixture
def folder(tmp_path, write_folder):
    return write_folder(tmp_path / "shapes")


def test_content_comes_with_titles_and_paths(folder):
    found = open_dataset(folder)
    assert found.name == "shapes"
    assert found.documents["d1"].content.texts == ("A title a text",)
    assert found.documents["d2"].content.images == (folder / "pictures/d2.png",)
    assert found.documents["d3"].content.videos == ((folder / "f1.png", folder / "f2.png"),)
    assert found.documents["d3"].id == "d3"
    assert found.queries["q2"].content.images == (folder / "pictures/q2.png",)
    assert found.queries["q2"].content.texts == ()


def test_queries_are_the_judged_ones(folder):
    found = open_dataset(folder)
    assert list(found.queries) == ["q1", "q2"]
    assert found.qrels == {"q1": {"d1": 2.0, "d2": 0.0}, "q2": {"d3": 1.0}}
    assert found.unjudged == 1


def test_without_candidates_the_judged_or_all_are_ranked(folder):
    found = open_dataset(folder)
    assert not found.is_ranked
    assert not found.is_listed
    assert sorted(found.candidates["q1"]) == ["d1", "d2"]
    assert sorted(found.candidates["q2"]) == ["d1", "d2", "d3", "d4"], "all judged are relevant"


def test_no_retriever_no_order_by_labels(tmp_path, write_folder, write_rows):
    rows = [f"q1\td{at}\t{int(at < 20)}\n" for at in range(40)]
    folder = write_folder(tmp_path / "many", "".join(rows))
    write_rows(folder / "corpus.jsonl", [{"_id": f"d{at}", "text": str(at)} for at in range(40)])
    listed = open_dataset(folder).candidates["q1"]
    relevant = sum(int(name[1:]) < 20 for name in listed[:20])
    assert 4 <= relevant <= 16
    assert listed == open_dataset(folder).candidates["q1"]


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("candidates.trec", TREC_RUN),
        ("run.tsv", "query-id\tcorpus-id\tscore\nq1\td2\t1\nq1\td4\t2\nq2\td3\t1\nq2\td1\t0\n"),
        ("candidates/test.tsv", "q1\td4\nq1\td2\nq2\td3\nq2\td1\n"),
        (
            "candidates.jsonl",
            '{"query-id": "q1", "candidates": ["d4", "d2"]}\n{"qid": "q2", "documents": '
            '{"d1": 1, "d3": 2.5}}\n',
        ),
        ("top_ranked.tsv", "q1\td4\t9\nq1\td2\t8\nq2\td1\t1\nq2\td3\t2\n"),
    ],
)
def test_candidates_come_in_a_retrievers_order(folder, name, text, write_text):
    write_text(folder / name, text)
    found = open_dataset(folder)
    assert found.is_ranked
    assert found.candidates == {"q1": ["d4", "d2"], "q2": ["d3", "d1"]}
    assert found.pairs == 4


def test_a_list_may_go_on_in_a_later_line(folder, write_rows):
    lists = [("q1", ["d4", "d2"]), ("q2", ["d3"]), ("q1", ["d1", "d3"])]
    rows = [{"query-id": query, "candidates": listed} for query, listed in lists]
    write_rows(folder / "candidates.jsonl", rows)
    assert open_dataset(folder).candidates["q1"] == ["d4", "d2", "d1", "d3"]


def test_a_list_of_what_is_to_be_ranked_is_no_retrievers_order(tmp_path, write_folder, write_rows):
    """MTEB's lists name the relevant documents first: order, and so ties and cuts, would tell."""
    names = [f"d{at}" for at in range(40)]
    rows = [f"q1\t{name}\t{int(at < 20)}\n" for at, name in enumerate(names)]
    folder = write_folder(tmp_path / "reranking", "".join(rows))
    write_rows(folder / "corpus.jsonl", [{"_id": name, "text": name} for name in names])
    write_rows(folder / "top_ranked/test.jsonl", [{"query-id": "q1", "corpus-ids": names}])
    found = open_dataset(folder)
    assert not found.is_ranked
    assert sorted(found.candidates["q1"]) == sorted(names)
    assert 4 <= sum(int(name[1:]) < 20 for name in found.top(20).candidates["q1"]) <= 16


def test_candidates_are_of_the_split_of_the_judgments(folder, write_text):
    write_text(folder / "candidates" / "dev.tsv", "q3\td4\n")
    write_text(folder / "candidates" / "test.tsv", "q1\td1\nq2\td3\n")
    write_text(folder / "qrels" / "dev.tsv", "q3\td4\t1\n")
    assert open_dataset(folder).candidates == {"q1": ["d1"], "q2": ["d3"]}
    assert open_dataset(folder, split="dev").candidates == {"q3": ["d4"]}


def test_a_document_without_a_word_is_one(folder, write_rows):
    rows = [{"_id": f"d{at}", "title": "", "text": "" if at == 2 else "a"} for at in range(1, 5)]
    write_rows(folder / "corpus.jsonl", rows)
    found = open_dataset(folder).documents["d2"]
    assert found.content.is_empty
    assert not found.is_reference


def test_only_candidates_leaves_the_rest_of_the_corpus(folder, write_text):
    write_text(folder / "candidates.tsv", "q1\td4\nq1\td2\nq2\td2\n")
    assert list(open_dataset(folder).documents) == ["d1", "d2", "d3", "d4"]
    assert list(open_dataset(folder, only_candidates=True).documents) == ["d2", "d4"]


@pytest.mark.parametrize(
    ("qrels", "grades"),
    [
        ("q1 0 d1 2\nq1\t0\td2\t0\n", {"q1": {"d1": 2.0, "d2": 0.0}}),
        ("q1\td1\t1\n", {"q1": {"d1": 1.0}}),
        ('{"query-id": "q1", "corpus-id": "d1", "score": 0.5}\n', {"q1": {"d1": 0.5}}),
        ("\ufeffquery-id\tcorpus-id\tscore\r\nq1\td1\t1\r\n", {"q1": {"d1": 1.0}}),
    ],
)
def test_judgments_in_every_format(tmp_path, qrels, grades, write_folder):
    assert open_dataset(write_folder(tmp_path, qrels)).qrels == grades


def test_the_split_is_test_unless_another_is_named(folder, write_text):
    write_text(folder / "qrels" / "dev.tsv", "q3\td4\t1\n")
    assert list(open_dataset(folder).queries) == ["q1", "q2"]
    assert list(open_dataset(folder, split="dev").queries) == ["q3"]
    with pytest.raises(ConfigurationError, match="split 'train'"):
        open_dataset(folder, split="train")
    (folder / "qrels" / "test.tsv").rename(folder / "qrels" / "train.tsv")
    with pytest.raises(ConfigurationError, match=r"qrels/dev.tsv, qrels/train.tsv; say which"):
        open_dataset(folder)


def test_instructions_are_the_datasets_or_the_querys_own(folder, write_rows, write_text):
    write_text(folder / "instruction.txt", "Find the\nshape.\n")
    rows = [{"_id": "q1", "text": "red", "instruction": "Find it."}, {"_id": "q2", "text": "b"}]
    write_rows(folder / "queries.jsonl", rows)
    found = open_dataset(folder)
    assert found.instruction_of("q1") == "Find it."
    assert found.instruction_of("q2") == found.instruction == "Find the shape."


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("qrels/test.tsv", "q1\td1\t1\nq9\td1\t1\n", "test.tsv, line 2: query 'q9' is not in"),
        ("qrels/test.tsv", "q1\td1\t1\nq1\td9\t1\n", "test.tsv, line 2: document 'd9' is not in"),
        ("qrels/test.tsv", "q1\td1\t1\nq1\td1\t0\n", "test.tsv, line 2: document 'd1' of query"),
        ("qrels/test.tsv", "q1\td1\tgood\n", "test.tsv, line 1: 'good' is no number"),
        ("qrels/test.tsv", "q1\td1\tnan\n", "test.tsv, line 1: nan for document 'd1'"),
        ("qrels/test.tsv", "q1\td1\n", "test.tsv, line 1: 2 columns"),
        ("candidates.tsv", "q1\td1\nq2\td9\n", "candidates.tsv, line 2: document 'd9' is not in"),
        ("candidates.tsv", "q1\td1\nq8\td1\n", "candidates.tsv, line 2: query 'q8' is not in"),
        ("candidates.tsv", "q1\td1\n", "test.tsv, line 4: query 'q2' is judged, but"),
        ("candidates.tsv", "q1\td1\nq1\td1\nq2\td1\n", "line 2: document 'd1' is listed twice"),
        ("candidates.tsv", "q1\td1\t3\nq1\td2\n", "line 2: of query 'q1' some candidates have"),
        ("candidates.tsv", "qid\tdocid\trank\nq1\td1\t1\n", "candidates.tsv, line 1: ranks"),
        ("candidates.trec", "q1 Q0 d1 1 0.5\n", "candidates.trec, line 1: 5 columns"),
        ("candidates.jsonl", '{"query-id": "q1"}\n', "candidates.jsonl, line 1: no candidates"),
        ("candidates.jsonl", '{"candidates": []}\n', "candidates.jsonl, line 1: no id: query-id"),
        ("corpus.jsonl", "{}\n", "corpus.jsonl, line 1: no id: _id = None"),
        ("corpus.jsonl", '\n{"_id": "d1"\n', "corpus.jsonl, line 2: not JSON"),
        ("corpus.jsonl", '{"_id": "d1"}\n', "corpus.jsonl, line 1: there is no content"),
        ("corpus.jsonl", '{"_id": "d1", "image": 4}\n', "corpus.jsonl, line 1: image = 4"),
        ("corpus.jsonl", '{"_id": "d1", "text": "a"}\n' * 2, "line 2: a second document"),
        ("queries.jsonl", '{"_id": "q1", "text": "a"}\n' * 2, "line 2: a second query"),
        ("queries.jsonl", '["q1"]\n', "queries.jsonl, line 1: a list"),
    ],
)
def test_what_is_wrong_is_named_with_file_and_line(folder, name, text, message, write_text):
    write_text(folder / name, text)
    with pytest.raises(InputError, match=re.escape(message)):
        open_dataset(folder)


def test_bytes_that_are_no_text_are_named(folder):
    (folder / "corpus.jsonl").write_bytes(b'{"_id": "d1", "text": "a"}\n{"_id": "\xff"}\n')
    with pytest.raises(InputError, match=r"corpus\.jsonl, line 2: not UTF-8"):
        open_dataset(folder)


@pytest.mark.parametrize("name", ["queries.jsonl", "corpus.jsonl", "qrels/test.tsv"])
def test_a_missing_file_is_named(folder, name):
    (folder / name).unlink()
    with pytest.raises(ConfigurationError, match=name.partition("/")[0]):
        open_dataset(folder)


def test_a_path_that_is_nothing_is_refused(tmp_path):
    with pytest.raises(ConfigurationError, match="no such folder or file"):
        open_dataset(tmp_path / "none")
