"""The proposal is right where the right answer is known, and absent where the data have none."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from minireranker import Document, Profile, Query, Reranker
from minireranker.errors import ConfigurationError, InputError
from minireranker.probe import ProbeResult, ProbeSettings, probe
from minireranker.probe.analysis import Analysis
from minireranker.probe.measuring import Measuring
from minireranker.probe.proposing import Proposal
from minireranker.probe.sample import judgements, sample
from minireranker.relevance import Dataset

from .known_answers import DOCUMENTS, QUERIES, SMALL, dataset, ranked_by

EXACT = dataclasses.replace(SMALL, max_loss=0.0, min_correlation=0.9999)


@pytest.fixture(scope="module")
def shapes(windowed: Reranker) -> Dataset:
    return ranked_by(windowed)


@pytest.fixture(scope="module")
def known(windowed: Reranker, shapes: Dataset) -> ProbeResult:
    return probe(windowed, shapes, EXACT)


@pytest.fixture(scope="module")
def chance(tiny: Path) -> ProbeResult:
    return probe(tiny, dataset(), dataclasses.replace(SMALL, step=3), dtype="float32")


def test_exit_and_band_of_a_model_where_both_are_known(known: ProbeResult) -> None:
    assert known.choice.is_supported
    assert known.choice.exit_layer == 5, "the layers from there on do nothing"
    assert known.choice.band == (2, 4), "no other layer mixes tokens"
    assert known.choice.keep_ratio == 1.0


def test_the_lens_is_flat_where_layers_do_nothing(known: ProbeResult) -> None:
    accuracy = known.relevance["pair_accuracy"]
    assert accuracy.at == (1, 2, 3, 4, 5, 6, 7)
    assert [accuracy[at].value for at in (5, 6, 7)] == [1.0, 1.0, 1.0]
    assert [accuracy[at].value for at in (1, 2)] == [0.5, 0.5], "nothing of the document is seen"
    assert accuracy[4].value < 1.0


def test_states_differ_from_the_window_on(known: ProbeResult) -> None:
    for name in ("raw", "centred"):
        values = [point.value for point in known.similarity[name].points]
        np.testing.assert_allclose(values[:2], 1.0, atol=1e-6)
        assert max(values[2:]) < 0.999, name
    centred, raw = (known.similarity[name][4].value for name in ("centred", "raw"))
    assert centred < raw


def test_blocking_hurts_where_tokens_mix(known: ProbeResult) -> None:
    at_exit, at_last = known.blocking
    assert (at_exit.exit_layer, at_last.exit_layer) == (5, 7)
    opened = at_exit.opened["pearson"]
    assert opened.at == (0, 1, 2, 3, 4, 5)
    assert [round(opened[at].value, 4) for at in (0, 1, 2)] == [1.0, 1.0, 1.0]
    assert opened[3].value < 0.9999
    assert [opened[at].value for at in (4, 5)] == [0.0, 0.0], "blind"
    closed = at_exit.closed["kendall"]
    assert [closed[at].value for at in (0, 1, 2, 4, 5)] == [0.0, 0.0, 0.0, 1.0, 1.0]
    assert at_exit.opened["pair_accuracy"][5].value == 0.5


def test_the_choice_as_a_whole_is_measured(known: ProbeResult) -> None:
    assert known.facts["data"]["blocked_pairs"] == SMALL.blocked_pairs
    assert known.proposed["pair_accuracy"].value == 1.0
    assert known.proposed["kendall"].value == pytest.approx(1.0)
    assert known.dense["ndcg"].value == 1.0


def test_a_model_that_does_not_rank_the_data_is_left_dense(chance: ProbeResult) -> None:
    choice = chance.choice
    assert (choice.is_supported, choice.exit_layer, choice.band) == (False, 7, (0, 7))
    assert "over chance" in choice.reasons[0]
    assert "random weights" in choice.reasons[0]
    assert chance.blocking[0].opened["pearson"].at == (0, 3, 6, 7), "curves are there, every third"


def test_too_few_queries(windowed: Reranker, shapes: Dataset) -> None:
    settings = dataclasses.replace(EXACT, min_queries=QUERIES + 1, step=6)
    choice = probe(windowed, shapes, settings).choice
    assert not choice.is_supported
    assert f"{QUERIES} queries" in choice.reasons[0]
    assert choice.band == (0, 7)


def test_too_few_blocked_queries_leave_the_band_open(windowed: Reranker, shapes: Dataset) -> None:
    settings = dataclasses.replace(EXACT, blocked_pairs=2 * DOCUMENTS, step=6)
    choice = probe(windowed, shapes, settings).choice
    assert (choice.exit_layer, choice.band) == (5, (0, 5))
    assert "2 queries were run with a blocked pathway" in choice.reasons[1]


def test_ends_that_are_fine_alone_and_not_together(windowed: Reranker, shapes: Dataset) -> None:
    """Curves that say each end may move; the reduced pass, which is real, says both may not."""
    measuring = Measuring(windowed.state, EXACT, progress=False)
    opened = measuring.open(sample(shapes, EXACT))
    whole = Analysis(judgements(opened.questions), opened.scores, EXACT)
    blind = np.zeros_like(whole.scores)
    starts = {at: whole.scores if at <= 3 else blind for at in range(1, 8)}
    ends = {at: whole.scores if at >= 4 else blind for at in range(1, 7)}
    proposal = Proposal(measuring, whole, whole, opened.questions, starts, ends)
    choice = proposal.choose()
    assert choice.band == (3, 5)
    assert "both ends moved together correlate by" in choice.reasons[2]


def test_a_document_that_cannot_be_read_is_named(windowed: Reranker) -> None:
    data = dataset()
    data.documents["d5"] = Document(image=b"no picture", id="d5")
    result = probe(windowed, data, dataclasses.replace(SMALL, step=6))
    assert len(result.failed) == 1
    assert result.failed[0].startswith("d5: ")
    assert result.facts["data"]["pairs"] == QUERIES * DOCUMENTS - 1


def test_nothing_can_be_read(windowed: Reranker) -> None:
    data = dataset(queries=2)
    data.documents.update({name: Document(image=b"", id=name) for name in data.documents})
    with pytest.raises(InputError, match="nothing could be read"):
        probe(windowed, data, SMALL)


def test_data_without_negatives(windowed: Reranker) -> None:
    with pytest.raises(ConfigurationError, match="no query has both"):
        probe(windowed, dataset(lambda query, names: [1.0] * len(names)), SMALL)


def test_a_reduced_reranker_is_refused(mini: Reranker) -> None:
    with pytest.raises(ConfigurationError, match="is reduced"):
        probe(mini, dataset(), SMALL)


class Interrupting:
    """A picture that is Ctrl-C at one of its readings."""

    def __init__(self, picture: object, readings: int) -> None:
        self.picture, self.left = picture, readings

    def __call__(self) -> object:
        self.left -= 1
        if self.left == 0:
            raise KeyboardInterrupt
        return self.picture


def interrupted(shapes: Dataset, reading: int) -> Dataset:
    """Data whose fifth query in probing order interrupts, at a reading of one of its documents."""
    name = next(iter(shapes.qrels[list(probing_order(shapes))[4]]))
    source = Interrupting(shapes.documents[name].image, reading)
    documents = {**shapes.documents, name: Document(image=source, id=name)}
    return dataclasses.replace(shapes, documents=documents)


def probing_order(data: Dataset) -> Iterator[str]:
    texts = {query.text: name for name, query in data.queries.items()}
    return (texts[question.query.text] for question in sample(data, EXACT))


def test_stopped_in_the_open_pass(windowed: Reranker, shapes: Dataset) -> None:
    data = interrupted(shapes, reading=1)
    result = probe(windowed, data, dataclasses.replace(EXACT, min_queries=4))
    assert result.is_interrupted
    assert result.facts["data"]["pairs"] == 4 * DOCUMENTS
    assert result.blocking == ()
    assert result.choice.band == (0, result.choice.exit_layer)
    assert "stopped by hand" in result.choice.reasons[-1]
    assert len(result.relevance["auc"].at) == 7


def test_stopped_in_the_blocked_passes(windowed: Reranker, shapes: Dataset) -> None:
    data = interrupted(shapes, reading=2)
    result = probe(windowed, data, dataclasses.replace(EXACT, step=2))
    assert result.is_interrupted
    assert result.facts["data"]["pairs"] == QUERIES * DOCUMENTS
    assert result.facts["data"]["blocked_pairs"] == 4 * DOCUMENTS
    assert result.blocking[0].opened["pearson"].at == (0, 2, 4, 5)


def test_stopped_before_anything_was_read(windowed: Reranker) -> None:
    data = dataset(queries=1)
    data.documents["d0"] = Document(image=Interrupting(None, 1), id="d0")
    with pytest.raises(KeyboardInterrupt):
        probe(windowed, data, SMALL)


@pytest.mark.parametrize("by", ["importances", "embedder"])
def test_keep_ratios(tiny: Path, dense: Reranker, by: str) -> None:
    """Scores at half the tokens agree with the dense ones as far as the engine's own do."""
    data = ranked_by(dense, queries=6)
    options = {"embedder": tiny} if by == "embedder" else {}
    if by == "importances":
        worth = np.array([[1.0, 0.9], [0.2, 0.1]])
        data.documents.update(
            {n: dataclasses.replace(d, importances=worth) for n, d in data.documents.items()}
        )
    settings = dataclasses.replace(SMALL, step=7, pairs=6 * DOCUMENTS)
    result = probe(tiny, data, settings, dtype="float32", **options)
    assert result.keep["pair_accuracy"].at == (0.25, 0.5, 0.75, 1.0)
    assert result.keep["kendall"][1.0].value == pytest.approx(1.0)
    exit_layer = result.choice.exit_layer
    whole, half = (
        Reranker.from_pretrained(
            tiny,
            profile=Profile(exit_layer=exit_layer, keep_ratio=keep),
            dtype="float32",
            **options,
        )
        for keep in (1.0, 0.5)
    )
    taus = []
    for name, query in data.queries.items():
        documents = [data.documents[item] for item in data.qrels[name]]
        one, other = (np.argsort(model.score(query, documents)[0]) for model in (whole, half))
        taus.append(rank_agreement(list(one), list(other)))
    assert result.keep["kendall"][0.5].value == pytest.approx(np.mean(taus))
    assert np.mean(taus) < 0.95


def rank_agreement(one: list[int], other: list[int]) -> float:
    pairs = [(a, b) for at, a in enumerate(one) for b in one[:at]]
    same = sum(1 if other.index(a) > other.index(b) else -1 for a, b in pairs)
    return same / len(pairs)


def test_without_two_equal_spans_similarity_is_not_measured(windowed: Reranker) -> None:
    documents = {f"d{n}": Document(text="red " * (n + 1), id=f"d{n}") for n in range(DOCUMENTS)}
    qrels = {"q": {name: float(at % 2) for at, name in enumerate(documents)}}
    data = Dataset("lengths", {"q": Query(text="red")}, documents, qrels, {"q": list(documents)})
    result = probe(windowed, data, dataclasses.replace(SMALL, step=6))
    assert result.similarity == {}
    assert result.facts["data"]["compared_second_segments"] == 0


def test_the_files_it_writes(known: ProbeResult, tiny: Path, tmp_path: Path) -> None:
    written = known.save(tmp_path / "new")
    assert [path.name for path in written] == ["probed.toml", "probe.json", "probe.png"]
    loaded = Reranker.from_pretrained(tiny, profile=written[0], dtype="float32")
    assert loaded.profile.digest() == known.profile.digest()
    assert (loaded.profile.exit_layer, loaded.profile.band) == (5, (2, 4))
    comments = [line for line in written[0].read_text().splitlines() if line.startswith("#")]
    assert "exit 5 of 7: the earliest from which on pair_accuracy stays" in "\n".join(comments)
    found = json.loads(written[1].read_text(encoding="utf-8"))
    assert found["choice"]["band"] == [2, 4]
    assert len(found["relevance_by_exit"]["auc"]["value"]) == 7
    assert found["machine"]["command"].startswith("minireranker profile probe DATA --model MODEL")
    assert "--min-queries 6" in found["machine"]["command"]
    assert str(tiny.parent) not in written[1].read_text() + written[0].read_text()
    with Image.open(written[2]) as picture:
        assert min(picture.size) > 800
        assert len(set(picture.convert("RGB").resize((200, 200)).get_flattened_data())) > 100


def test_the_template_probed_is_the_one_proposed(tiny: Path, tmp_path: Path) -> None:
    settings = ProbeSettings(queries=2, pairs=8, resamples=20, step=6)
    result = probe(tiny, dataset(), settings, profile="dense-query-first", dtype="float32")
    path = result.save(tmp_path, figure=False)[0]
    assert Profile.from_toml(path).template.order == "query-first"
    assert Profile.from_toml(path).digest() == result.profile.digest()


def test_the_same_seed_gives_the_same_numbers(
    windowed: Reranker, shapes: Dataset, known: ProbeResult
) -> None:
    again = probe(windowed, shapes, EXACT)
    assert again.relevance == known.relevance
    assert again.similarity == known.similarity
    assert again.choice == known.choice


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *(("metric", "map"), ("max_loss", -0.1), ("min_correlation", 0.0), ("confidence", 1.0)),
        *(("queries", 0), ("pairs", 1), ("step", 0), ("min_queries", 1), ("resamples", 1)),
    ],
)
def test_settings_that_are_none(name: str, value: object) -> None:
    with pytest.raises(ConfigurationError, match=f"{name} = .*allowed is"):
        ProbeSettings(**{name: value})  # type: ignore[arg-type]
