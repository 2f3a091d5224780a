"""The recipe of the built-in model, for a few steps: hints point where they should, runs go on."""

from __future__ import annotations

import dataclasses
import json
from functools import partial
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import pytest
import torch

from minireranker import Document, Embedder, Profile, Reranker
from minireranker.engine.embedding_model import open_model
from minireranker.engine.features import FeatureReader
from minireranker.engine.packing import Packer
from minireranker.engine.work import Meter
from minireranker.scenes import GRID, SHAPES, Figure, Phrase, Relation, Scene, SceneQuery, draw
from minireranker.train.batch import PairBatch
from minireranker.train.builtin.embedding import EmbeddingHints, EmbeddingLesson
from minireranker.train.builtin.forms import FORMS, form_of
from minireranker.train.builtin.geometry import DENSE, LAYERS, MINI, untrained
from minireranker.train.builtin.hints import Hints
from minireranker.train.builtin.lessons import CELLS, LOOKS, UNKNOWN, lessons
from minireranker.train.builtin.pointing import Pointing
from minireranker.train.builtin.practice import Phase, practise
from minireranker.train.builtin.ranking import RankingLesson
from minireranker.train.builtin.recipe import Recipe, cook
from minireranker.train.builtin.sight import Sight
from minireranker.train.settings import TrainSettings
from minireranker.train.trained import Trained
from minireranker.train.writing import PairWriter


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return untrained(tmp_path_factory.mktemp("builtin") / "start", LAYERS, seed=0)


def loaded(checkpoint: Path) -> Reranker:
    return Reranker.from_pretrained(checkpoint, profile=DENSE, dtype="float32")


def full(out: Path) -> TrainSettings:
    return TrainSettings(model="", data=("x",), out=out, method="full", vision=True)


def test_lessons_are_half_true() -> None:
    taught = lessons(Random(1), 20, 8)
    labels = np.array([lesson.labels for lesson in taught])
    assert (labels.mean(axis=1) == 0.5).all()
    assert [lesson.scene for lesson in taught] == [x.scene for x in lessons(Random(1), 20, 8)]
    for lesson in taught:
        assert len(lesson.looks) == CELLS
        assert (lesson.looks > 0).sum() == len(lesson.scene.figures)
        assert lesson.looks.max() < LOOKS


def test_pointers_name_the_cell_of_the_only_figure_that_fits() -> None:
    (lesson,) = lessons(Random(1), 1, 2)
    scene = Scene(
        (
            Figure("circle", "red", "small", 0, 1),
            Figure("circle", "blue", "small", 2, 2),
            Figure("star", "red", "large", 3, 0),
        )
    )
    lesson = dataclasses.replace(lesson, scene=scene)
    asked = SceneQuery(Phrase("circle", "blue"), Phrase("star"), Relation.LEFT)
    assert lesson.pointers(asked) == [2 * GRID + 2, 3 * GRID]
    assert lesson.pointers(SceneQuery(Phrase("circle"))) == [UNKNOWN], "two circles"
    assert lesson.pointers(SceneQuery(Phrase("cross"))) == [UNKNOWN], "no cross"


@pytest.mark.parametrize("keep", [1.0, 0.5])
def test_hints_look_at_the_tokens_they_mean(checkpoint: Path, keep: float) -> None:
    """The shape's word in the text, the cell's token in the picture, wherever they are packed."""
    reranker = loaded(checkpoint)
    state, encode = reranker.state, reranker.state.prompt.tokenizer.encode
    taught = lessons(Random(4), 3, 4)
    worth = np.random.default_rng(0).random((3, GRID, GRID))
    taught = [
        dataclasses.replace(
            lesson, document=dataclasses.replace(lesson.document, importances=(worth[at],))
        )
        for at, lesson in enumerate(taught)
    ]
    state = dataclasses.replace(state, profile=dataclasses.replace(state.profile, keep_ratio=keep))
    writer = PairWriter(state.prompt, state.guide(Meter()))
    pairs = [writer.write(q, lesson.document, None) for lesson in taught for _, q in lesson.queries]
    shapes = {encode(f" {shape}")[-1] for shape in SHAPES}
    told = Pointing.of(PairBatch.of(pairs), taught, frozenset(shapes))
    best = np.argsort(-worth.reshape(3, -1), axis=1, kind="stable")[:, : int(CELLS * keep)]
    kept = np.sort(best, axis=1)
    assert told.places.tolist() == kept.ravel().tolist()
    asked = [query for lesson in taught for query, _ in lesson.queries]
    phrases = [phrase for query in asked for phrase in query.phrases]
    assert len(told.phrases) == len(phrases)
    for (pair, at), phrase in zip(told.phrases, phrases, strict=True):
        second = pairs[pair].second
        assert second.input_ids[at] == encode(f" {phrase.shape}")[-1]
    for scene, cell, token in zip(told.scenes, told.cells, told.tokens, strict=True):
        if int(token) != UNKNOWN:
            assert kept[int(scene)][int(token)] == int(cell)
        else:
            assert int(cell) == UNKNOWN or int(cell) not in kept[int(scene)]


def test_every_form_is_taken_about_as_often_as_it_should() -> None:
    taken = [form_of(step, 0).name for step in range(2000)]
    for form in FORMS:
        assert taken.count(form.profile.name) / 2000 == pytest.approx(form.share, abs=0.04)
    assert MINI.exit_layer is not None
    assert MINI.exit_layer / LAYERS == pytest.approx(0.57, abs=0.01)


@pytest.mark.parametrize("form", [form.profile for form in FORMS if form.profile.keep_ratio == 1])
def test_a_step_in_each_form_reaches_everything(
    checkpoint: Path, tmp_path: Path, form: Profile
) -> None:
    state = loaded(checkpoint).state
    trained, hints = Trained(state, full(tmp_path)), Hints(128)
    phase = Phase("pairs", 2, 1e-3, scenes=2, queries=4)
    lesson = RankingLesson(phase, state, trained, hints, None, lambda step, seed: form)
    loss, figures = lesson(0)
    loss.backward()  # type: ignore[no-untyped-call]
    assert {"cells", "places", "attention", "phrases", "colours", form.name} <= set(figures)
    idle = {name for name, master in trained.masters.items() if master.grad is None}
    assert form.exit_layer is not None
    layers = {int(name.removeprefix("decoder.layers.").split(".")[0]) for name in idle}
    assert layers == set(range(form.exit_layer, LAYERS)), "only what is behind the exit"
    assert not any(p.grad is None for p in hints.parameters())


def test_a_phase_that_was_stopped_goes_on_as_if_it_had_not_been(
    checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("minireranker.train.builtin.practice._SAVED_EVERY", 2)
    monkeypatch.setattr("minireranker.train.builtin.practice._LOGGED_EVERY", 2)
    phase = Phase("sight", 6, 3e-3, scenes=2)
    logs = []
    for name, stops in (("whole", None), ("parts", 3)):
        state = loaded(checkpoint).state
        torch.manual_seed(0)
        sight = Sight(state.model.vision).requires_grad_(True)
        lesson = sight.lesson(phase, state.pixel_mean, state.pixel_std)
        if stops is not None:

            def stopping(step: int, lesson: Any = lesson, stops: int = stops) -> Any:
                if step == stops:
                    raise KeyboardInterrupt
                return lesson(step)

            with pytest.raises(KeyboardInterrupt):
                practise(tmp_path / name, phase, dict(sight.named_parameters()), stopping)
        practise(tmp_path / name, phase, dict(sight.named_parameters()), lesson)
        lines = (tmp_path / name / "log.jsonl").read_text().splitlines()
        logs.append([{**json.loads(line), "seconds": 0} for line in lines])
    assert logs[0] == logs[1]
    assert [line["step"] for line in logs[0]] == [2, 4, 6]
    assert logs[0][-1]["loss"] < logs[0][0]["loss"]


def test_the_embedders_pass_is_the_embedders(checkpoint: Path) -> None:
    """Vectors and attention that are trained are those that will be given."""
    embedder = Embedder.from_pretrained(checkpoint, dtype="float32")
    opened = open_model(
        str(checkpoint),
        device="cpu",
        dtype="float32",
        limits=None,
        instruction=None,
        backend="auto",
        progress=False,
    )
    model, pixels = opened.network, opened.checkpoint
    reader = FeatureReader(model, pixels.pixel_mean, pixels.pixel_std, Meter())
    phase = Phase("vectors", 1, 1e-3, scenes=3, queries=2)
    lesson = EmbeddingLesson(
        phase, model, opened.prompt, Packer(model, reader, Meter()), EmbeddingHints(128)
    )
    scenes = [draw(item.scene) for item in lessons(Random(2), 3, 2)]
    texts = ["a red circle", "a small blue square left of a star"]
    pictures = lesson.read_pictures([Document(image=scene).content for scene in scenes])
    wanted = embedder.encode([Document(image=scene) for scene in scenes], importances=True)
    np.testing.assert_allclose(pictures.pooled.detach(), wanted.pooled, atol=1e-5)
    for worth, one in zip(pictures.worth.detach(), wanted, strict=True):
        assert one is not None
        share = one.importances[0].ravel() / (4 * LAYERS)
        np.testing.assert_allclose(worth, share, rtol=1e-4)
    found = lesson.read_texts(texts).pooled.detach()
    np.testing.assert_allclose(found, embedder.encode(texts).pooled, atol=1e-5)


def test_the_whole_recipe_gives_models_that_work_together(tmp_path: Path) -> None:
    recipe = Recipe(
        Phase("sight", 2, 1e-3, scenes=2),
        Phase("embedding", 2, 1e-3, scenes=3, queries=2),
        Phase("ranking", 3, 1e-3, scenes=2, queries=2),
    )
    reranker, embedder = cook(tmp_path, recipe)
    again = cook(tmp_path, recipe)
    assert again == (reranker, embedder), "what is done is not done again"
    loaded = Reranker.from_pretrained(reranker, profile="mini", embedder=embedder)
    assert (loaded.profile.exit_layer, loaded.profile.keep_ratio) == (8, 0.5)
    scenes = [draw(item.scene) for item in lessons(Random(2), 3, 2)]
    ranking = loaded.rank("a red circle", [Document(image=scene) for scene in scenes])
    assert not ranking.failed
    assert [len(visual.indices) for hit in ranking for visual in hit.visuals] == [8, 8, 8]
    whole = Reranker.from_pretrained(reranker, profile="dense")
    assert whole.profile.exit_layer == LAYERS
    files = [path for folder in (reranker, embedder) for path in folder.rglob("*")]
    assert sum(path.stat().st_size for path in files if path.is_file()) < 16 * 2**20


def test_a_run_killed_before_its_first_checkpoint_logs_every_step_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("minireranker.train.builtin.practice._LOGGED_EVERY", 1)
    weight = torch.zeros(1, requires_grad=True)

    def lesson(step: int, last: int = 4) -> tuple[torch.Tensor, dict[str, float]]:
        if step == last:
            raise KeyboardInterrupt
        return (weight - 1).square().sum(), {}

    phase = Phase("short", 4, 0.1, scenes=1)
    with pytest.raises(KeyboardInterrupt):
        practise(tmp_path / "run", phase, {"w": weight}, partial(lesson, last=2))
    practise(tmp_path / "run", phase, {"w": weight}, lesson)
    lines = (tmp_path / "run" / "log.jsonl").read_text(encoding="utf-8").splitlines()
    assert [json.loads(line)["step"] for line in lines] == [1, 2, 3, 4]
