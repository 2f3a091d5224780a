"""The public API: what goes in, what comes out, what is said when it cannot be done."""

from __future__ import annotations

import io
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from minireranker import (
    Cache,
    Document,
    DocumentId,
    Limits,
    Profile,
    Query,
    RankedDocument,
    Reranker,
)
from minireranker.errors import (
    CheckpointError,
    ConfigurationError,
    EmptyQueryError,
    InputError,
    MediaError,
    NoDocumentsError,
    NonFiniteScoreError,
    ProfileError,
    RejectedDocumentsError,
    TooLongError,
    UnknownDocumentError,
    UnknownProfileError,
)

QUERY = "a red circle left of a blue square"
TIGHT = Limits(max_tokens=30, max_suffix_tokens=20)


def encoded(pixels: Any, suffix: str = "PNG") -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, suffix)
    return buffer.getvalue()


def test_a_picture_is_the_same_in_every_form(
    mini: Reranker, picture: Callable[..., Any], tmp_path: Path
) -> None:
    pixels = picture(64, 96)
    path = tmp_path / "page.png"
    path.write_bytes(encoded(pixels))
    forms = [
        pixels,
        Image.fromarray(pixels),
        encoded(pixels),
        path,
        {"image": str(path)},
        {"image": [pixels]},
        Document(image=path, id="mine"),
        Query(image=path),
    ]
    ranking = mini.rank(QUERY, forms)
    assert not ranking.failed
    assert len({hit.score for hit in ranking}) == 1
    assert [hit.index for hit in ranking] == list(range(len(forms))), "ties by place"
    assert mini.cache.memory.entries == 1


def test_a_ranking_is_sorted_cut_and_complete(mini: Reranker, picture: Callable[..., Any]) -> None:
    documents = [{"image": picture(64, 64, n), "id": f"page {n}"} for n in range(9)]
    whole = mini.rank(QUERY, documents)
    scores = [hit.score for hit in whole]
    assert scores == sorted(scores, reverse=True)
    assert {hit.index for hit in whole} == set(range(9))
    for hit in whole:
        assert isinstance(hit, RankedDocument)
        assert hit.id == f"page {hit.index}"
        assert hit.document is documents[hit.index]
        assert hit.probability == pytest.approx(1 / (1 + math.exp(-hit.score)))
    assert list(mini.rank(QUERY, documents, top_k=3)) == list(whole[:3])
    top_k: Any = np.int64(3)
    assert len(mini.rank(QUERY, documents, top_k=top_k)) == 3
    assert len(mini.rank(QUERY, documents, top_k=0)) == 0
    assert whole.timings.total > 0


def test_score_is_a_float32_matrix_and_candidates_are_ragged(
    mini: Reranker, picture: Callable[..., Any]
) -> None:
    documents = [picture(64, 64, n) for n in range(3)]
    scores = mini.score([QUERY, "revenue"], documents)
    assert (scores.dtype, scores.shape) == (np.float32, (2, 3))
    assert mini.score(QUERY, documents).shape == (1, 3)
    assert mini.score([], documents).shape == (0, 3)
    ragged = mini.score_candidates([QUERY, "revenue"], [documents[:1], documents])
    assert [row.shape for row in ragged] == [(1,), (3,)]
    none, some = mini.score_candidates([QUERY, "revenue"], [[], documents])
    assert (none.shape, some.shape) == ((0,), (3,))
    with pytest.raises(ConfigurationError, match="2 queries and 1 candidate lists"):
        mini.score_candidates([QUERY, "revenue"], [documents])
    nothing: Any = None
    with pytest.raises(InputError, match="pass a list"):
        mini.score_candidates([QUERY], nothing)


def test_the_instruction_is_part_of_the_pair(mini: Reranker, picture: Callable[..., Any]) -> None:
    documents = [picture(64, 64)]
    default = mini.score(QUERY, documents)
    explicit = mini.score(QUERY, documents, instruction=mini.profile.template.instruction)
    other = mini.score(QUERY, documents, instruction="Find pages about money.")
    assert default == explicit
    assert default != other


class TestIds:
    """Documents indexed ahead and referred to."""

    def test_ids_stand_for_their_documents(
        self, mini: Reranker, picture: Callable[..., Any]
    ) -> None:
        documents: list[Any] = [picture(64, 64), "a text", Document(image=picture(96, 64), id="x")]
        ids = mini.index(documents)
        assert not ids.failed
        assert ids[2] == "x"
        assert isinstance(ids[0], DocumentId)
        expected = mini.score(QUERY, documents)
        assert (mini.score(QUERY, list(ids)) == expected).all()
        by_name = [Document(id=str(i)) for i in ids]
        assert (mini.score(QUERY, by_name) == expected).all()
        assert (mini.score(QUERY, [{"id": str(i)} for i in ids]) == expected).all()
        visual = {"image": picture(64, 64, 5)}
        assert (mini.score(visual, list(ids)) == mini.score(visual, documents)).all()

    def test_a_plain_string_is_a_text_not_an_id(self, mini: Reranker) -> None:
        mini.index([Document(text="a long text about revenue", id="x")])
        assert mini.score(QUERY, ["x"]) != mini.score(QUERY, [DocumentId("x")])

    def test_content_names_a_document_without_an_id(
        self, mini: Reranker, picture: Callable[..., Any]
    ) -> None:
        one, same, other = mini.index([picture(64, 64), picture(64, 64), picture(64, 64, 1)])
        assert one == same != other

    def test_an_unknown_id_is_named_and_the_others_are_ranked(
        self, mini: Reranker, picture: Callable[..., Any]
    ) -> None:
        ranking = mini.rank(QUERY, [DocumentId("nobody"), picture(64, 64)])
        assert [hit.index for hit in ranking] == [1]
        assert isinstance(ranking.failed[0].error, UnknownDocumentError)
        assert "nobody" in str(ranking.failed[0])

    def test_evicted_pixels_are_gone_but_paths_are_read_again(
        self, tiny: Path, picture: Callable[..., Any], tmp_path: Path
    ) -> None:
        path = tmp_path / "page.png"
        path.write_bytes(encoded(picture(64, 64)))
        reranker = Reranker.from_pretrained(
            tiny, profile="mini", dtype="float32", cache=Cache(memory_bytes=0)
        )
        ids = reranker.index([path, picture(64, 64, 1)])
        ranking = reranker.rank(QUERY, list(ids))
        assert [hit.index for hit in ranking] == [0]
        assert "index it again" in str(ranking.failed[0].error)

    def test_the_same_picture_as_pixels_does_not_make_its_path_forgotten(
        self, mini: Reranker, picture: Callable[..., Any], tmp_path: Path
    ) -> None:
        path = tmp_path / "page.png"
        path.write_bytes(encoded(picture(64, 64)))
        ids = mini.index([path])
        assert mini.index([picture(64, 64)])[0] == ids[0]
        mini.cache.drop(mini.namespace.name)
        assert len(mini.rank(QUERY, list(ids))) == 1

    def test_other_content_under_an_id_replaces_all_of_it(
        self, mini: Reranker, picture: Callable[..., Any]
    ) -> None:
        old, new = picture(64, 64, 1), picture(64, 64, 2)
        mini.index([Document(image=old, id="x")], instruction="one")
        mini.index([Document(image=new, id="x")], instruction="two")
        assert mini.score(QUERY, [DocumentId("x")], instruction="two") == mini.score(
            QUERY, [new], instruction="two"
        )
        ranking = mini.rank(QUERY, [DocumentId("x")], instruction="one")
        assert "instruction" in str(ranking.failed[0])

    def test_a_file_that_changed_is_not_what_was_indexed(
        self, mini: Reranker, picture: Callable[..., Any], tmp_path: Path
    ) -> None:
        path = tmp_path / "page.png"
        path.write_bytes(encoded(picture(64, 64, 1)))
        ids = mini.index([path])
        path.write_bytes(encoded(picture(64, 64, 2)))
        assert len(mini.rank(QUERY, list(ids))) == 1, "the entry is still there"
        mini.cache.drop(mini.namespace.name)
        assert "has changed" in str(mini.rank(QUERY, list(ids)).failed[0])

    def test_entries_that_did_not_stay_are_spoken_of(
        self, tiny: Path, picture: Callable[..., Any], caplog: pytest.LogCaptureFixture
    ) -> None:
        cache = Cache(memory_bytes=0)
        reranker = Reranker.from_pretrained(tiny, profile="mini", dtype="float32", cache=cache)
        reranker.index([picture(64, 64)])
        assert "1 of 1 entries did not stay" in caplog.text

    def test_changing_the_callers_list_changes_no_document(self, mini: Reranker) -> None:
        texts = ["a text"]
        document = Document(text=texts, id="x")
        mini.index([document])
        texts.append("more")
        mini.cache.drop(mini.namespace.name)
        assert mini.score(QUERY, [DocumentId("x")]) == mini.score(QUERY, ["a text"])

    def test_another_instruction_reads_again_what_it_can(
        self, mini: Reranker, picture: Callable[..., Any], tmp_path: Path
    ) -> None:
        path = tmp_path / "page.png"
        path.write_bytes(encoded(picture(64, 64)))
        ids = mini.index([Document(image=path, id="file"), Document(image=picture(64, 64, 1))])
        ranking = mini.rank(QUERY, list(ids), instruction="Find pages about money.")
        assert [hit.id for hit in ranking] == ["file"]
        assert "instruction" in str(ranking.failed[0].error)

    def test_query_first_documents_can_be_indexed_too(
        self, tiny: Path, picture: Callable[..., Any]
    ) -> None:
        reranker = Reranker.from_pretrained(tiny, profile="dense-query-first", dtype="float32")
        documents: list[Any] = [picture(64, 64), "text"]
        ids = reranker.index(documents)
        assert (reranker.score(QUERY, list(ids)) == reranker.score(QUERY, documents)).all()


class TestBadInput:
    """One bad document names itself; a bad call says what to do."""

    def bad(self, tmp_path: Path, pixels: Any) -> dict[str, Any]:
        (tmp_path / "cut.jpg").write_bytes(encoded(pixels, "JPEG")[:-400])
        (tmp_path / "text.png").write_text("not a picture")
        return {
            "truncated": tmp_path / "cut.jpg",
            "PNG": tmp_path / "text.png",
            "file": tmp_path / "missing.png",
            "frames": {"video": []},
            "side": np.zeros((1, 1, 3), np.uint8),
            "aspect ratio": np.zeros((10, 10_000, 3), np.uint8),
            "unknown field": {"img": pixels},
            "text is int": {"text": 3},
            "surrogate": "\ud800",
        }

    def test_each_is_named_and_the_rest_is_ranked(
        self, mini: Reranker, picture: Callable[..., Any], tmp_path: Path
    ) -> None:
        bad = self.bad(tmp_path, picture(128, 128))
        good = [picture(64, 64, n) for n in range(4)]
        ranking = mini.rank(QUERY, [*good, *bad.values()])
        assert {hit.index for hit in ranking} == {0, 1, 2, 3}
        assert [failed.index for failed in ranking.failed] == list(range(4, 4 + len(bad)))
        for failed, words in zip(ranking.failed, bad, strict=True):
            assert words in str(failed), f"{words!r} is not in {failed}"
        assert {hit.score for hit in ranking} == {hit.score for hit in mini.rank(QUERY, good)}
        indexed = mini.index([*good, *bad.values()])
        assert [id_ is None for id_ in indexed] == [False] * 4 + [True] * len(bad)
        assert len(indexed.failed) == len(bad)

    def test_score_carries_the_other_results(
        self, mini: Reranker, picture: Callable[..., Any]
    ) -> None:
        good = picture(64, 64)
        with pytest.raises(RejectedDocumentsError, match="document 1") as raised:
            mini.score([QUERY, "revenue"], [good, b"junk", good])
        assert isinstance(raised.value.failed[0].error, MediaError)
        result = raised.value.result
        assert isinstance(result, np.ndarray)
        assert np.isnan(result[:, 1]).all()
        assert (result[:, [0, 2]] == mini.score([QUERY, "revenue"], [good, good])).all()

    def test_what_index_gave_for_a_failed_document_is_no_document(
        self, mini: Reranker, picture: Callable[..., Any]
    ) -> None:
        ids = mini.index([picture(64, 64), b"junk"])
        ranking = mini.rank(QUERY, list(ids))
        assert [hit.index for hit in ranking] == [0]
        assert "None is no document" in str(ranking.failed[0])

    def test_a_query_that_fails_takes_no_other_with_it(
        self, tiny: Path, picture: Callable[..., Any]
    ) -> None:
        profile = Profile(limits=Limits(max_tokens=700, max_suffix_tokens=200))
        reranker = Reranker.from_pretrained(tiny, profile=profile, dtype="float32")
        large = {"image": picture(1024, 1024)}
        documents = ["a text", picture(64, 64)]
        with pytest.raises(RejectedDocumentsError, match="query 0: 1024 visual tokens") as raised:
            reranker.score([large, QUERY], documents)
        result = raised.value.result
        assert isinstance(result, np.ndarray)
        assert np.isnan(result[0]).all()
        assert (result[1] == reranker.score(QUERY, documents)[0]).all()
        with pytest.raises(InputError, match="surrogate"):
            reranker.score([QUERY, "\ud800"], documents)

    def test_a_document_that_fails_for_all_queries_is_named_once(self, mini: Reranker) -> None:
        with pytest.raises(RejectedDocumentsError, match=r"1 document\(s\) failed") as raised:
            mini.score([QUERY, "revenue"], ["a text", b"junk"])
        assert [item.query for item in raised.value.failed] == [None]

    @pytest.mark.parametrize(
        "odd",
        [{1: "a", "foo": 2}, {"id": [1]}, {"text": "x", "id": 5}, {"importances": [[1.0]]}, None],
    )
    def test_odd_documents_are_named(self, mini: Reranker, odd: Any) -> None:
        assert len(mini.rank(QUERY, ["a text", odd]).failed) == 1
        assert mini.index(["a text", odd])[1] is None

    @pytest.mark.parametrize("documents", [None, 5])
    def test_no_list_of_documents(self, mini: Reranker, documents: Any) -> None:
        with pytest.raises(InputError, match="pass a list of documents"):
            mini.rank(QUERY, documents)

    def test_one_document_need_not_be_a_list(
        self, mini: Reranker, picture: Callable[..., Any], tmp_path: Path
    ) -> None:
        pixels = picture(64, 96)
        path = tmp_path / "page.png"
        path.write_bytes(encoded(pixels))
        expected = mini.score(QUERY, [pixels])
        for one in (pixels, path, Image.fromarray(pixels), encoded(pixels), {"image": pixels}):
            assert mini.score(QUERY, one) == expected
        assert len(mini.rank(QUERY, (text for text in ("one", "two")))) == 2
        assert mini.score((text for text in ("one", "two")), ["three"]).shape == (2, 1)

    @pytest.mark.parametrize(
        "arguments",
        [{"top_k": "2"}, {"top_k": -1}, {"top_k": 1.5}, {"instruction": ["a"]}, {"instruction": 5}],
    )
    def test_arguments_of_the_wrong_kind(self, mini: Reranker, arguments: dict[str, Any]) -> None:
        with pytest.raises(ConfigurationError, match=next(iter(arguments))):
            mini.rank(QUERY, ["a text"], **arguments)

    def test_an_instruction_without_end(self, mini: Reranker) -> None:
        with pytest.raises(TooLongError, match="instruction makes a header of"):
            mini.rank(QUERY, ["a text"], instruction="find pages about money " * 5000)

    def test_an_id_is_no_query(self, mini: Reranker) -> None:
        with pytest.raises(InputError, match="stands for a document"):
            mini.rank(DocumentId("x"), ["a text"])

    @pytest.mark.parametrize("query", ["", "  \n", {}, None, {"text": []}, Query()])
    def test_an_empty_query(self, mini: Reranker, query: Any) -> None:
        with pytest.raises(EmptyQueryError, match="neither text nor an image"):
            mini.rank(query, ["a text"])

    def test_no_documents(self, mini: Reranker) -> None:
        for call in (mini.index, lambda d: mini.rank(QUERY, d), lambda d: mini.score(QUERY, d)):
            with pytest.raises(NoDocumentsError, match="pass at least one"):
                call([])

    def test_an_unreadable_query_is_an_error_of_the_call(self, mini: Reranker) -> None:
        with pytest.raises(MediaError):
            mini.rank({"image": b"junk"}, ["a text"])

    def test_nan_never_ranks(self, mini: Reranker, picture: Callable[..., Any]) -> None:
        layer = mini.state.model.decoder.layer(3)
        with torch.no_grad():
            layer.mlp.down_proj.weight[0, 0] = float("nan")
        ranking = mini.rank(QUERY, [picture(64, 64), "text"])
        assert not ranking.hits
        assert all(isinstance(f.error, NonFiniteScoreError) for f in ranking.failed)


class TestLoading:
    """Arguments that cannot be honoured."""

    @pytest.mark.parametrize(
        ("arguments", "error", "words"),
        [
            ({"profile": "tiny-mini"}, UnknownProfileError, "dense"),
            ({"profile": Profile(exit_layer=8)}, ProfileError, "exit_layer = 8"),
            ({"profile": "mini-2b"}, ProfileError, "layers"),
            ({"device": "tpu"}, ConfigurationError, "tpu"),
            ({"dtype": "int4"}, ConfigurationError, "bfloat16"),
            ({"dtype": "float16"}, ConfigurationError, "float16 on a CPU"),
            ({"backend": "fused"}, ConfigurationError, "packed"),
            ({"backend": "cuda"}, ConfigurationError, "runs on CUDA devices, not on cpu"),
            ({"profile": Profile(limits=TIGHT)}, ProfileError, "limits.max_tokens = 30"),
            ({"batch_tokens": 0}, ConfigurationError, "batch_tokens"),
            ({"batch_tokens": "a"}, ConfigurationError, "batch_tokens"),
            ({"device": "meta"}, ConfigurationError, "meta"),
            ({"dtype": ["x"]}, ConfigurationError, "bfloat16"),
            ({"cache": 3}, ConfigurationError, "a folder"),
        ],
    )
    def test_each_names_itself(
        self, tiny: Path, arguments: dict[str, Any], error: type[Exception], words: str
    ) -> None:
        with pytest.raises(error, match=words):
            Reranker.from_pretrained(tiny, **{"device": "cpu", **arguments})

    def test_no_checkpoint(self, tmp_path: Path) -> None:
        with pytest.raises(CheckpointError, match=r"config\.json"):
            Reranker.from_pretrained(tmp_path)

    def test_layers_beyond_the_exit_are_not_loaded(self, mini: Reranker, dense: Reranker) -> None:
        assert len(mini.state.model.decoder.layers) == 4
        assert len(dense.state.model.decoder.layers) == 7

    def test_describe_says_what_runs(self, mini: Reranker) -> None:
        for words in ("mini", "exit 4 of 7", "float32", "cpu", "thread"):
            assert words in mini.describe()


def test_the_cache_is_bounded(tiny: Path, picture: Callable[..., Any]) -> None:
    probe = Reranker.from_pretrained(tiny, profile="mini", dtype="float32")
    probe.index([picture(64, 64)])
    size = probe.cache.memory.bytes
    reranker = Reranker.from_pretrained(
        tiny, profile="mini", dtype="float32", cache=Cache(memory_bytes=3 * size)
    )
    reranker.rank(QUERY, [picture(64, 64, n) for n in range(8)])
    assert reranker.cache.memory.bytes == 3 * size
    assert reranker.cache.stats.memory.evictions == 5


def test_two_models_share_a_cache_without_mixing(tiny: Path, picture: Callable[..., Any]) -> None:
    cache = Cache()
    documents = [picture(64, 64)]
    scores = {}
    for name in ("mini", "dense", "dense-query-first", Profile(exit_layer=4, band=(1, 4))):
        alone = Reranker.from_pretrained(tiny, profile=name, dtype="float32")
        shared = Reranker.from_pretrained(tiny, profile=name, dtype="float32", cache=cache)
        scores[str(name)] = shared.score(QUERY, documents).item()
        assert shared.score(QUERY, documents) == alone.score(QUERY, documents)
    assert len(set(scores.values())) == 4


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_a_gpu_gives_the_same_scores(tiny: Path, picture: Callable[..., Any]) -> None:
    documents = [picture(64 + 32 * (n % 2), 64, n) for n in range(5)]
    scores = [
        Reranker.from_pretrained(tiny, profile="mini", dtype="float32", device=device).score(
            QUERY, documents
        )
        for device in ("cpu", "cuda")
    ]
    np.testing.assert_allclose(scores[0], scores[1], atol=1e-3)
