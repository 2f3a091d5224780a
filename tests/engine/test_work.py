"""What is computed, counted in tokens, layers and patches, never timed."""

from __future__ import annotations

import gc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from minireranker import Cache, Profile, Reranker
from minireranker.cache import PrefixEntry
from minireranker.models.synth import synthesize

LAYERS, BAND, DOCUMENTS = 28, (8, 16), 100


@pytest.fixture(scope="module")
def reranker(tmp_path_factory: pytest.TempPathFactory) -> Reranker:
    """As deep as the 2B, under its mini profile, but narrow."""
    path = tmp_path_factory.mktemp("deep") / "deep"
    synthesize(path, "tiny", text={"num_hidden_layers": LAYERS})
    profile = Profile(exit_layer=16, band=BAND, keep_ratio=1.0)
    return Reranker.from_pretrained(path, profile=profile, dtype="float32")


@pytest.fixture(scope="module")
def documents(picture: Callable[..., Any]) -> list[Any]:
    """A hundred images of five spans."""
    sizes = [(64, 64), (64, 96), (128, 64), (160, 64), (64, 192)]
    return [picture(*sizes[n % 5], n) for n in range(DOCUMENTS)]


def query_of(reranker: Reranker, tokens: int) -> str:
    """A query whose second segment has that many tokens."""
    from minireranker.engine.prompt import Side

    words = ["red"]
    while True:
        text = " ".join(words)
        length = len(reranker.state.prompt.second(Side((text,)), is_query=True))
        if length == tokens:
            return text
        assert length < tokens, f"no text of exactly {tokens} tokens found"
        words.append("red")


def test_a_warm_cache_leaves_the_suffix_below_the_band_and_the_pairs_in_it(
    reranker: Reranker, documents: list[Any]
) -> None:
    query = query_of(reranker, 40)
    reranker.index(documents)
    work = reranker.rank(query, documents).work
    assert work.pair_token_layers == 100 * 40 * 8
    assert work.suffix_token_layers == 5 * 40 * 8, "once for each of the five spans"
    assert work.token_layers <= 100 * 40 * 8 + 5 * 40 * 8
    assert work.vision_patches == work.prefix_token_layers == work.header_token_layers == 0
    assert (work.cache_hits, work.cache_misses) == (100, 0)


def test_index_stops_at_the_bands_end(tiny: Path, documents: list[Any]) -> None:
    profile = Profile(exit_layer=6, band=(1, 3))
    reranker = Reranker.from_pretrained(tiny, profile=profile, dtype="float32")
    indexed = reranker.index(documents[:5])
    header = reranker.state.prompt.header(profile.template.instruction, False)
    tokens = [len(_first(reranker, d)) for d in documents[:5]]
    assert indexed.work.prefix_token_layers == sum(tokens) * 3
    assert indexed.work.header_token_layers == len(header) * 6, "once, through the exit"
    assert indexed.work.vision_patches == 4 * sum(
        height * width for height, width in [(2, 2), (2, 3), (4, 2), (5, 2), (2, 6)]
    )


def test_a_second_query_and_a_second_call_run_no_tower(
    reranker: Reranker, documents: list[Any]
) -> None:
    reranker.rank("first", documents[:10])
    second = reranker.rank("second", documents[:10])
    assert second.work.vision_patches == second.work.prefix_token_layers == 0
    again = reranker.index(documents[:10])
    assert again.work.cache_misses == again.work.vision_patches == 0


def test_queries_on_the_same_documents_read_them_once(tiny: Path, documents: list[Any]) -> None:
    reranker = Reranker.from_pretrained(tiny, profile="mini", dtype="float32")
    queries = ["one", "two", "three"]
    reranker.score_candidates(queries, [documents[:3], documents[1:4], documents[2:5]])
    assert reranker.cache.memory.entries == 5
    assert reranker.cache.stats.memory.misses == 5


def test_roles_swap_for_a_visual_query(tiny: Path, picture: Callable[..., Any]) -> None:
    """The query is read once; the texts' states below the band are kept with them."""
    reranker = Reranker.from_pretrained(tiny, profile="mini", dtype="float32")
    texts = [f"text number {n}" for n in range(6)]
    first = reranker.rank({"image": picture(64, 96)}, texts)
    assert first.work.vision_patches == 4 * 6
    assert first.work.cache_misses == 1 + 6
    again = reranker.rank({"image": picture(64, 96)}, texts)
    assert again.work.vision_patches == again.work.suffix_token_layers == 0
    other = reranker.rank({"image": picture(64, 96, seed=1)}, texts)
    assert other.work.vision_patches == 4 * 6
    assert other.work.suffix_token_layers == 0, "another query of the same span"
    wider = reranker.rank({"image": picture(64, 128)}, texts)
    assert wider.work.suffix_token_layers > 0, "a span not seen before"


@pytest.mark.parametrize("profile", ["dense-query-first", "mini"])
def test_pixels_of_a_second_segment_are_seen_once_too(
    tiny: Path, picture: Callable[..., Any], profile: str
) -> None:
    """Documents behind the query; or a visual query behind documents of many spans."""
    reranker = Reranker.from_pretrained(tiny, profile=profile, dtype="float32", batch_tokens=8)
    documents = [picture(64, 64 + 32 * n, n) for n in range(4)]
    reranker.index(documents)
    if profile == "mini":
        work = reranker.rank({"image": picture(64, 96, 50)}, documents).work
        assert work.vision_patches == 4 * 6, "one query, whatever the spans and batches"
    for query in ("one", "a second query", "a third one, longer"):
        assert reranker.rank(query, documents).work.vision_patches == 0


def test_what_a_call_holds_beside_the_cache_is_bounded(
    tiny: Path, picture: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Chunks close on bytes: whenever a document is read, count the entries that are alive."""
    reranker = Reranker.from_pretrained(
        tiny, profile="mini", dtype="float32", cache=Cache(memory_bytes=0), batch_tokens=8
    )
    alive: list[int] = []

    def document(seed: int) -> Any:
        def image() -> Any:
            alive.append(sum(type(item) is PrefixEntry for item in gc.get_objects()))
            return picture(64, 64, seed)

        return {"image": image}

    documents = [document(seed) for seed in range(6)]
    expected = reranker.score("a query", documents)
    unbounded, before = max(alive), alive[0]
    assert unbounded - before == 5, "far from the bound, a chunk keeps all it has read"
    alive.clear()
    monkeypatch.setattr("minireranker.engine.call.HELD_BYTES", 1)
    assert (reranker.score("a query", documents) == expected).all()
    assert max(alive) - alive[0] <= 1


def test_importances_halve_what_is_kept(tiny: Path, picture: Callable[..., Any]) -> None:
    whole = Reranker.from_pretrained(tiny, profile="mini", dtype="float32").index(
        [picture(64, 320)]
    )
    reranker = Reranker.from_pretrained(tiny, profile="mini", keep_ratio=0.5, dtype="float32")
    pruned = reranker.index([{"image": picture(64, 320), "importances": [list(range(20))]}])
    layers = reranker.state.band.high
    assert whole.work.prefix_token_layers - pruned.work.prefix_token_layers == 10 * layers


def _first(reranker: Reranker, document: Any) -> Any:
    from minireranker import Document
    from minireranker.engine.reading import read_content

    limits = reranker.profile.limits
    side = read_content(Document.of(document).content, limits).pruned((), 1.0)
    instruction = reranker.profile.template.instruction
    return reranker.state.prompt.first(side, instruction, is_query=False)
