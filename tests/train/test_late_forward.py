"""The pass that trains MetaEmbed computes what the embedder does, and has a gradient."""

from __future__ import annotations

import json
import runpy
from pathlib import Path
from typing import Any

import pytest
import torch

from minireranker.engine.embedder import Embedder
from minireranker.engine.embedding_model import EmbeddingModel, open_model
from minireranker.engine.features import FeatureReader
from minireranker.engine.packing import Packer
from minireranker.engine.work import Meter
from minireranker.retrieval.late_interaction import MetaEmbed, MetaTokens
from minireranker.train import Lora, read_examples
from minireranker.train.late import MetaEmbedSettings
from minireranker.train.late.backbone import Backbone
from minireranker.train.late.contrast import Contest
from minireranker.train.late.encoding import Encoding
from minireranker.train.late.forward import Prompt, StateForward
from minireranker.train.late.interaction import group_scores
from minireranker.train.late.lessons import Input, plan_steps, questions_of
from minireranker.train.late.tokens import TrainedTokens

LATE = runpy.run_path(str(Path(__file__).with_name("late_runs.py")))


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return Path(LATE["write_lessons"](tmp_path_factory.mktemp("lessons")))


@pytest.fixture(scope="module")
def tokens() -> MetaTokens:
    """Far apart, as trained ones are."""
    drawn = MetaTokens.random(64, 5)
    return MetaTokens(drawn.query * 20, drawn.candidate * 20)


def opened(checkpoint: Path) -> EmbeddingModel:
    return open_model(
        checkpoint,
        device="cpu",
        dtype="float32",
        limits=None,
        instruction=None,
        backend="auto",
        progress=False,
    )


def packer(model: EmbeddingModel) -> Packer:
    statistics = model.checkpoint.pixel_mean, model.checkpoint.pixel_std
    reader = FeatureReader(model.network, *statistics, Meter())
    return Packer(model.network, reader, Meter())


def encoding(model: EmbeddingModel, tokens: MetaTokens, data: Path, **other: Any) -> Encoding:
    recompute = other.pop("recompute", False)
    passed = other.pop("tokens_a_pass", 10**6)
    settings = MetaEmbedSettings("m", (data,), "o", **other)
    trained = TrainedTokens(model.network, tokens, settings)
    return Encoding(trained, StateForward(packer(model), recompute), passed)


def test_states_are_the_embedders(small: Path, data: Path, tmp_path: Path) -> None:
    rows = [
        {"query": {"text": "what", "image": "0.png"}, "positives": [{"image": "1.png"}, "a table"]},
        {"query": "red", "positives": [{"video": ["2.png", "0.png", "2.png"]}]},
        {"query": {"image": ["1.png", "3.png"]}, "positives": ["a text that is rather long" * 5]},
    ]
    path = data.with_name("mixed.jsonl")
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    model, appended = opened(small), torch.randn(7, 64)
    backbone = Backbone(model, read_examples([path]))
    items = [Input(at, False) for at in range(len(backbone.examples.contents))]
    segments = backbone.segments(items)
    prompts = [Prompt(segments[item], appended, len(segments[item]) + 7) for item in items]
    found = StateForward(packer(model))(prompts)
    place = str(data.parent)
    given: list[Any] = [
        {"text": "what", "image": f"{place}/0.png"},
        {"image": f"{place}/1.png"},
        "a table",
        "red",
        {"video": [f"{place}/{at}.png" for at in (2, 0, 2)]},
        {"image": [f"{place}/1.png", f"{place}/3.png"]},
        "a text that is rather long" * 5,
    ]
    wanted = Embedder(model, 4096).encode(given, states=True, appended=appended)
    for states, embedding in zip(found, wanted, strict=True):
        assert embedding is not None
        assert embedding.states is not None
        torch.testing.assert_close(states, embedding.states, rtol=0, atol=2e-5)


def test_vectors_are_metaembeds(small: Path, data: Path, tokens: MetaTokens) -> None:
    model = opened(small)
    meta = MetaEmbed(Embedder(model, 4096), tokens)
    wanted = meta.encode_documents(LATE["documents_of"](data)).vectors
    asked = meta.encode_queries("red", instruction="Find what the words describe.")
    backbone = Backbone(model, read_examples([data]))
    questions = questions_of(backbone.examples, {})
    found = encoding(model, tokens, data)
    documents = [Input(question.positives[0], False) for question in questions]
    query = questions[0].query._replace(instruction="Find what the words describe.")
    written = backbone.segments([*documents, query])
    with torch.no_grad():
        *vectors, of_query = found.vectors(list(written.items()))
    for at, each in enumerate(vectors):
        torch.testing.assert_close(each, wanted.item(at), rtol=0, atol=1e-5)
    torch.testing.assert_close(of_query, asked.item(0), rtol=0, atol=1e-5)


class Learner:
    """One contest of all lessons."""

    def __init__(self, small: Path, data: Path, tokens: MetaTokens, **other: Any) -> None:
        model, count = opened(small), other.pop("count", 8)
        backbone = Backbone(model, read_examples([data]))
        questions = questions_of(backbone.examples, {})
        lessons = plan_steps(questions, seed=0, epochs=1, together=count, negatives=4)[0]
        items = [lesson.question.query for lesson in lessons]
        listed = {at for each in lessons for at in (each.positive, *each.negatives)}
        items += [Input(at, False) for at in sorted(listed)]
        self.segments = backbone.segments(items)
        contest = Contest.of(lessons, self.segments)
        assert contest is not None
        self.contest = contest
        self.own = encoding(model, tokens, data, **other)
        self.own.trained.training(True)

    def masters(self) -> dict[str, torch.Tensor]:
        return self.own.trained.masters.detached()

    def __call__(self) -> tuple[float, dict[str, torch.Tensor]]:
        """Loss and gradients."""
        masters = self.own.trained.masters.tensors
        for master in masters.values():
            master.grad = None
        loss = self.own.send_back(self.segments, self._loss, (0, 0))
        return loss, {name: each.grad for name, each in masters.items() if each.grad is not None}

    def _loss(self, vectors: dict[Input, torch.Tensor]) -> torch.Tensor:
        sides = self.contest.queries, self.contest.documents
        queries, documents = (torch.stack([vectors[item] for item in side]) for side in sides)
        scores = group_scores(queries, documents)
        return torch.stack([self.contest.loss(each, 0.03) for each in scores]).mean()


def test_gradients_reach_all_that_is_trained(small: Path, data: Path, tokens: MetaTokens) -> None:
    loss, found = Learner(small, data, tokens)()
    assert loss > 1
    assert (found["tokens.query"].abs().sum(-1) > 0).all()
    assert (found["tokens.candidate"].abs().sum(-1) > 0).all()
    second = [name for name in found if "lora_B" in name]
    assert len(second) == 7 * 7, "all projections of seven layers"
    # The first factor's gradient goes through the second, which begins as 0.
    last_mlp = [name for name in second if found[name].abs().sum() == 0]
    assert not last_mlp
    assert set(found) - set(second) == {
        *("tokens.query", "tokens.candidate"),
        *(name.replace("lora_B", "lora_A") for name in second),
    }


@pytest.mark.parametrize("other", [{"tokens_a_pass": 300}, {"recompute": True}])
def test_passes_and_recomputing_change_nothing(
    other: dict[str, Any], small: Path, data: Path, tokens: MetaTokens
) -> None:
    loss, whole = Learner(small, data, tokens)()
    again, found = Learner(small, data, tokens, **other)()
    assert again == pytest.approx(loss, rel=1e-5)
    for name, gradient in whole.items():
        scale = float(gradient.abs().max())
        torch.testing.assert_close(found[name], gradient, rtol=0, atol=1e-3 * scale + 1e-9)


def test_both_readings_of_a_pass_drop_the_same(small: Path, data: Path, tokens: MetaTokens) -> None:
    """The loss, which is of the first, rises along the gradient, which is of the second."""
    lora = Lora(rank=4, alpha=8.0, dropout=0.5)
    learner = Learner(small, data, tokens, lora=lora, tokens_a_pass=300, count=3)
    masters = learner.masters()
    generator = torch.Generator().manual_seed(2)
    begun = {
        name: torch.randn(each.shape, generator=generator) * 0.1 if "lora_B" in name else each
        for name, each in masters.items()
    }
    begun = {name: each.clone() for name, each in begun.items()}
    learner.own.trained.masters.load(begun)
    loss, found = learner()
    squared = sum(float(gradient.square().sum()) for gradient in found.values())
    step = 0.02 * loss / squared
    losses = []
    for sign in (1, -1):
        moved = {name: begun[name] + sign * step * found[name] for name in begun}
        learner.own.trained.masters.load(moved)
        losses.append(learner()[0])
    assert (losses[0] - losses[1]) / (2 * step) == pytest.approx(squared, rel=0.1)
    assert torch.equal(tokens.query, MetaTokens.random(64, 5).query * 20), "not moved with them"
