"""The built-in reranker and embedder, from nothing: sight, then vectors, then pairs.

Every phase goes on where it was stopped, and gives the same weights for the same seed, as far as
the machine's products do. Nothing is read but what ``scenes`` draws.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from minireranker.engine.embedder import Embedder
from minireranker.engine.embedding_model import open_model
from minireranker.engine.features import FeatureReader
from minireranker.engine.packing import Packer
from minireranker.engine.reranker import Reranker
from minireranker.engine.work import Meter
from minireranker.models.qwen3_vl import Decoder
from minireranker.train.export import is_written, write_merged
from minireranker.train.profile_file import file_name, profile_toml
from minireranker.train.settings import TrainSettings
from minireranker.train.trained import Change, Trained

from .embedding import EmbeddingHints, EmbeddingLesson
from .geometry import DENSE, EMBEDDER_LAYERS, LAYERS, MINI, untrained
from .hints import Hints
from .practice import Phase, practise
from .ranking import RankingLesson
from .sight import Sight

SIGHT = Phase("sight", 1_600, 3e-3, scenes=64)
EMBEDDING = Phase("embedding", 700, 1.5e-3, scenes=48, queries=2)
RANKING = Phase("ranking", 8_000, 1.5e-3, scenes=16, queries=8)


@dataclass(frozen=True)
class Recipe:
    """How much of everything."""

    sight: Phase = SIGHT
    embedding: Phase = EMBEDDING
    ranking: Phase = RANKING

    def shortened(self, share: float) -> Recipe:
        """With that share of the steps, at least one of each."""
        return Recipe(
            *(
                dataclasses.replace(phase, steps=max(1, round(share * phase.steps)))
                for phase in (self.sight, self.embedding, self.ranking)
            )
        )


def cook(out: Path, recipe: Recipe, *, progress: bool | None = None) -> tuple[Path, Path]:
    """Train both models in ``out``; the folders of the reranker and of the embedder.

    Raises ConfigurationError for an ``out`` that holds something else, OSError where it cannot be
    written.
    """
    tower = _sight(out / "sight", recipe.sight, progress)
    embedder = _embedder(out / "embedding", recipe.embedding, tower, progress)
    return _reranker(out / "ranking", recipe.ranking, tower, embedder, progress), embedder


def _sight(folder: Path, phase: Phase, progress: bool | None) -> Mapping[str, Tensor]:
    """The tower's tensors, by name."""
    torch.manual_seed(phase.seed)
    state = _dense(_start(folder, LAYERS, phase)).state
    sight = Sight(state.model.vision).requires_grad_(True)
    lesson = sight.lesson(phase, state.pixel_mean, state.pixel_std)
    practise(folder / "run", phase, dict(sight.named_parameters()), lesson, progress=progress)
    return sight.tower.state_dict()


def _embedder(
    folder: Path, phase: Phase, tower: Mapping[str, Tensor], progress: bool | None
) -> Path:
    torch.manual_seed(phase.seed)
    start, out = _start(folder, EMBEDDER_LAYERS, phase), folder / "model"
    record = dataclasses.asdict(phase)
    if is_written(out, record):
        return out
    opened = open_model(
        start,
        device="cpu",
        dtype="float32",
        limits=None,
        instruction=None,
        backend="auto",
        progress=progress,
    )
    model, checkpoint = opened.network, opened.checkpoint
    model.vision.load_state_dict(tower)
    _soften(model.decoder)
    hints = EmbeddingHints(opened.width)
    masters = _masters(vision=model.vision, decoder=model.decoder, hints=hints)
    reader = FeatureReader(model, checkpoint.pixel_mean, checkpoint.pixel_std, Meter())
    lesson = EmbeddingLesson(phase, model, opened.prompt, Packer(model, reader, Meter()), hints)
    practise(folder / "run", phase, masters, lesson, progress=progress)
    changes = {name: _instead(m) for name, m in masters.items() if not name.startswith("hints.")}
    return write_merged(start, out, changes, None, dtype="bfloat16", record=record)


def _reranker(
    folder: Path,
    phase: Phase,
    tower: Mapping[str, Tensor],
    embedder: Path,
    progress: bool | None,
) -> Path:
    torch.manual_seed(phase.seed)
    start, out = _start(folder, LAYERS, phase), folder / "model"
    record = dataclasses.asdict(phase)
    if is_written(out, record):
        return out
    state = _dense(start).state
    state.model.vision.load_state_dict(tower)
    _soften(state.model.decoder)
    settings = TrainSettings(
        model="", data=("scenes",), out=folder, method="full", vision=True, seed=phase.seed
    )
    trained = Trained(state, settings)
    hints = Hints(state.model.config.text.hidden_size)
    lesson = RankingLesson(phase, state, trained, hints, Embedder.from_pretrained(embedder))
    masters = {**trained.masters, **_masters(hints=hints)}
    practise(folder / "run", phase, masters, lesson, progress=progress)
    write_merged(start, out, trained.changes(), MINI, dtype="bfloat16", record=record)
    (out / "profiles" / file_name(DENSE)).write_text(profile_toml(DENSE), encoding="utf-8")
    return out


def _start(folder: Path, layers: int, phase: Phase) -> Path:
    start = folder / "start"
    return start if start.is_dir() else untrained(start, layers, seed=phase.seed)


def _dense(checkpoint: Path) -> Reranker:
    return Reranker.from_pretrained(checkpoint, profile=DENSE, dtype="float32", device="cpu")


def _soften(decoder: Decoder) -> None:
    """Synthetic weights attend sharply; what is still to be found is found from a wider view."""
    with torch.no_grad():
        for index in range(len(decoder.layers)):
            attention = decoder.layer(index).self_attn
            attention.q_norm.weight.fill_(1.0)
            attention.k_norm.weight.fill_(1.0)


def _masters(**modules: nn.Module) -> dict[str, Tensor]:
    """All parameters, now with a gradient, by room and name."""
    return {
        f"{room}.{name}": parameter.requires_grad_(True)
        for room, module in modules.items()
        for name, parameter in module.named_parameters()
    }


def _instead(master: Tensor) -> Change:
    return lambda source: master.detach()
