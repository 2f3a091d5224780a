"""tei.v1: scores, order and metadata as clients of text-embeddings-inference expect them."""

from __future__ import annotations

import dataclasses
from typing import Any

import grpc
import numpy as np
import pytest

from minireranker import Reranker
from minireranker.serve.generated import tei_pb2 as pb
from minireranker.serve.grpc_methods import TEI_INFO, TEI_RERANK, TEI_RERANK_STREAM

LONG = "word " * 800


@pytest.fixture(scope="module")
def narrow(builtin: Reranker) -> Reranker:
    """Of few tokens, for texts that are too long to be quick."""
    limits = dataclasses.replace(builtin.profile.limits, max_tokens=600, max_suffix_tokens=200)
    profile = dataclasses.replace(builtin.profile, limits=limits)
    return Reranker.from_pretrained("builtin", dtype="float32", profile=profile)


def ask_once(run: Any, grpc_serving: Any, builtin: Reranker, method: Any, request: Any) -> Any:
    async def ask() -> Any:
        async with grpc_serving(builtin) as channel:
            return await method.stub(channel)(request)

    return run(ask())


def refused(run: Any, grpc_serving: Any, builtin: Reranker, request: Any) -> str:
    with pytest.raises(grpc.aio.AioRpcError) as error:
        ask_once(run, grpc_serving, builtin, TEI_RERANK, request)
    assert error.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    return error.value.details() or ""


@pytest.mark.parametrize("raw", [False, True])
@pytest.mark.parametrize("texts_back", [False, True])
def test_a_rerank_is_sorted_and_scored_as_asked(
    run: Any, builtin: Reranker, grpc_serving: Any, texts: list[str], raw: bool, texts_back: bool
) -> None:
    request = pb.RerankRequest(
        query="a red circle", texts=texts, raw_scores=raw, return_text=texts_back
    )
    response = ask_once(run, grpc_serving, builtin, TEI_RERANK, request)
    best = builtin.rank("a red circle", texts)
    assert [rank.index for rank in response.ranks] == [hit.index for hit in best]
    for rank, hit in zip(response.ranks, best, strict=True):
        assert rank.score == (hit.score if raw else np.float32(hit.probability))
        assert rank.HasField("text") is texts_back
        assert not texts_back or rank.text == texts[rank.index]
    meta = response.metadata
    assert meta.compute_chars == len("a red circle") + sum(map(len, texts))
    assert meta.compute_tokens > 0
    parts = meta.tokenization_time_ns + meta.queue_time_ns + meta.inference_time_ns
    assert 0 < meta.inference_time_ns <= parts <= meta.total_time_ns


def test_a_stream_of_texts_is_one_rerank(
    run: Any, builtin: Reranker, grpc_serving: Any, texts: list[str]
) -> None:
    first, *others = texts
    stream = [
        pb.RerankStreamRequest(query="a red circle", text=first, raw_scores=True, return_text=True),
        *(pb.RerankStreamRequest(query="", text=one) for one in others),
    ]
    response = ask_once(run, grpc_serving, builtin, TEI_RERANK_STREAM, iter(stream))
    best = builtin.rank("a red circle", texts)
    got = [(rank.index, rank.text, rank.score) for rank in response.ranks]
    assert got == [(hit.index, texts[hit.index], hit.score) for hit in best]


def test_a_text_is_cut_only_where_that_was_allowed(
    run: Any, narrow: Reranker, grpc_serving: Any
) -> None:
    ask = {"query": "q", "texts": ["short", LONG]}
    said = refused(run, grpc_serving, narrow, pb.RerankRequest(**ask))
    assert "text 1 has" in said
    assert "set truncate" in said
    left = pb.TRUNCATION_DIRECTION_LEFT
    request = pb.RerankRequest(**ask, truncate=True, truncation_direction=left)
    assert "cut at their end only" in refused(run, grpc_serving, narrow, request)
    cut = ask_once(run, grpc_serving, narrow, TEI_RERANK, pb.RerankRequest(**ask, truncate=True))
    scores = {rank.index: rank.score for rank in cut.ranks}
    assert scores[1] == np.float32(narrow.rank("q", [LONG])[0].probability)
    # Many bytes, yet few enough tokens once they are counted.
    words = pb.RerankRequest(query="q", texts=["circle " * 100])
    assert len(ask_once(run, grpc_serving, narrow, TEI_RERANK, words).ranks) == 1


@pytest.mark.parametrize(
    ("request_", "words"),
    [
        (pb.RerankRequest(query="q"), "at least one"),
        (pb.RerankRequest(query=" ", texts=["a"]), "query 0"),
        (pb.RerankRequest(query=LONG * 4, texts=["a"]), "the query has"),
        (pb.RerankRequest(query="q", texts=["a"] * 1_001), "at most 1000"),
    ],
)
def test_bad_calls_are_invalid_arguments(
    run: Any, builtin: Reranker, grpc_serving: Any, request_: Any, words: str
) -> None:
    assert words in refused(run, grpc_serving, builtin, request_)


def test_an_empty_stream_is_an_invalid_argument(
    run: Any, builtin: Reranker, grpc_serving: Any
) -> None:
    with pytest.raises(grpc.aio.AioRpcError, match="the stream had no message"):
        ask_once(run, grpc_serving, builtin, TEI_RERANK_STREAM, iter(()))


def test_info_says_it_is_a_reranker(run: Any, builtin: Reranker, grpc_serving: Any) -> None:
    info = ask_once(run, grpc_serving, builtin, TEI_INFO, pb.InfoRequest())
    assert info.model_type == pb.MODEL_TYPE_RERANKER
    assert (info.max_client_batch_size, info.model_id) == (1_000, "reranker")
    assert info.max_input_length == builtin.profile.limits.max_tokens


def test_the_wire_is_theirs() -> None:
    """Numbers and types as their published interface has them."""
    fields = {
        message: {(f.name, f.number) for f in getattr(pb, message).DESCRIPTOR.fields}
        for message in ("RerankRequest", "RerankStreamRequest", "Rank", "Metadata")
    }
    shared = {("query", 1), ("truncate", 3), ("raw_scores", 4), ("return_text", 5)}
    shared |= {("truncation_direction", 6)}
    assert fields["RerankRequest"] == shared | {("texts", 2)}
    assert fields["RerankStreamRequest"] == shared | {("text", 2)}
    assert fields["Rank"] == {("index", 1), ("text", 2), ("score", 3)}
    sent = pb.RerankRequest(query="q", texts=["a"], raw_scores=True).SerializeToString()
    assert sent == b"\x0a\x01q\x12\x01a\x20\x01"
    rank = pb.Rank(index=1, score=0.5).SerializeToString()
    assert rank == b"\x08\x01\x1d\x00\x00\x00\x3f"
