"""The built-in models: small enough, exact, and they rank scenes they have never seen."""

import json
from pathlib import Path

import numpy as np
import pytest

from minireranker import Document, Embedder, Reranker
from minireranker.bench.oracle import full_sequence_scores
from minireranker.models import resolve
from minireranker.relevance import DrawnSettings, drawn_queries
from minireranker.scenes import draw

QUERIES, CANDIDATES = 12, 30


@pytest.fixture(scope="module")
def mini() -> Reranker:
    return Reranker.from_pretrained("builtin", dtype="float32")


@pytest.fixture(scope="module")
def dense() -> Reranker:
    return Reranker.from_pretrained("builtin", profile="dense", dtype="float32")


@pytest.fixture(scope="module")
def asked() -> list[tuple[str, list[Document], list[bool]]]:
    """Of another seed than the published table's, and of none that was trained on."""
    settings = DrawnSettings(QUERIES, CANDIDATES, seed=77)
    return [
        (one.query.text, [Document(image=draw(scene)) for scene in one.scenes], one.fits)
        for one in drawn_queries(settings)
    ]


def first_fits(reranker: Reranker, asked: list[tuple[str, list[Document], list[bool]]]) -> float:
    return float(
        np.mean([fits[reranker.rank(query, pictures)[0].index] for query, pictures, fits in asked])
    )


def test_the_reduced_form_is_the_default_and_prunes_by_the_built_in_embedder(
    mini: Reranker, dense: Reranker
) -> None:
    assert mini.profile.name == "mini"
    assert (mini.profile.exit_layer, mini.profile.band, mini.profile.keep_ratio) == (8, (4, 8), 0.5)
    assert mini.embedder is not None
    assert mini.embedder.checkpoint == resolve("builtin", "embedder")
    assert (dense.profile.exit_layer, dense.profile.keep_ratio) == (14, 1.0)


@pytest.mark.parametrize("form", ["dense", "mini"])
def test_it_finds_what_is_asked_for(
    form: str, request: pytest.FixtureRequest, asked: list[tuple[str, list[Document], list[bool]]]
) -> None:
    # 500 queries are in bench/results; chance is below 0.1 here.
    assert first_fits(request.getfixturevalue(form), asked) >= 0.9


def test_its_embedder_is_better_than_chance_and_worse_than_the_reranker(
    mini: Reranker, asked: list[tuple[str, list[Document], list[bool]]]
) -> None:
    embedder = Embedder.from_pretrained("builtin")
    reciprocal = []
    for query, pictures, fits in asked:
        near = embedder.encode(pictures).pooled @ embedder.encode([query]).pooled[0]
        best = max(near[at] for at, fit in enumerate(fits) if fit)
        reciprocal.append(1 / (1 + int((near > best).sum())))
    assert 0.25 < float(np.mean(reciprocal)) < 0.95


def test_scores_are_those_of_the_full_sequence(
    mini: Reranker, asked: list[tuple[str, list[Document], list[bool]]]
) -> None:
    query, pictures, _ = asked[0]
    ranking = mini.rank(query, pictures)
    spread = ranking[0].score - ranking[-1].score
    hits = ranking[:6]
    whole = full_sequence_scores(mini, query, [hit.document for hit in hits])
    np.testing.assert_allclose([hit.score for hit in hits], whole, atol=1e-4 * spread, rtol=0)


def test_a_keep_ratio_of_one_needs_no_embedder() -> None:
    whole = Reranker.from_pretrained("builtin", keep_ratio=1.0)
    (hit,) = whole.rank("a red circle", [np.full((128, 128, 3), 255, np.uint8)])
    assert len(hit.visuals[0].indices) == 16


def test_both_fit_in_the_wheel_and_have_a_card() -> None:
    folder = resolve("builtin").parent
    assert sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()) < 16 * 10**6
    card = (folder / "README.md").read_text(encoding="utf-8")
    for word in ("minireranker train builtin", "minireranker scenes", "demonstration"):
        assert word in card


@pytest.mark.parametrize("kind", ["reranker", "embedder"])
def test_its_config_names_no_machine(kind: str) -> None:
    folder = resolve("builtin", kind)
    for path in folder.rglob("*.json"):
        assert "/tmp" not in path.read_text(encoding="utf-8")
    assert json.loads((folder / "config.json").read_text())["model_type"] == "qwen3_vl"
    assert isinstance(folder, Path)
