"""The probe: sample, open pass, blocked passes, choice.

The miniReranker paper (arXiv 2606.10759v2, section 3) finds its exit and band by three looks at the
dense model: where the last token already knows (logit lens), where the second segment's states do
not depend on the first, and what happens when the way between them is blocked.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from minireranker.bench.machine import describe_machine
from minireranker.configs import Profile, resolve_profile
from minireranker.engine.embedder import Embedder
from minireranker.engine.reranker import Reranker
from minireranker.engine.state import EngineState
from minireranker.errors import ConfigurationError
from minireranker.models import Checkpoint, resolve
from minireranker.relevance import Dataset, open_dataset

from .analysis import Analysis
from .choice import Choice
from .curves import Curve, Interval
from .measuring import Measuring
from .proposing import Proposal
from .result import ProbeResult
from .sample import Question, judgements, sample
from .settings import ProbeSettings
from .similarity import Similarity


def probe(
    model: str | Path | Reranker,
    data: str | Path | Dataset,
    settings: ProbeSettings | None = None,
    *,
    split: str | None = None,
    profile: str | Path | Profile = "dense",
    embedder: Embedder | str | Path | None = None,
    device: str | torch.device = "auto",
    dtype: str | torch.dtype = "auto",
    batch_tokens: int = 4_096,
    progress: bool | None = None,
) -> ProbeResult:
    """Measure what a checkpoint bears on given data, and propose a profile.

    ``model``: a checkpoint, of which all layers are run, or a Reranker that has them all (then
    ``profile``, ``embedder``, ``device``, ``dtype`` and ``batch_tokens`` are its own). ``data``: a
    Dataset, or what ``open_dataset`` reads, of it ``split``. ``profile``: whose template and limits
    are probed and proposed. ``embedder``: adds the keep ratio curve, as importances of the
    documents' own do. Nothing is trained.

    Documents that cannot be read are named in the result. Ctrl-C ends the measuring: the result
    is of what was finished, and says so. Raises ConfigurationError for a reduced Reranker, and for
    data without a query that has both relevant and other documents; InputError where nothing can
    be read; NonFiniteScoreError; and as ``open_dataset`` and ``Reranker.from_pretrained`` do.
    """
    settings = settings or ProbeSettings()
    dataset = data if isinstance(data, Dataset) else open_dataset(data, split=split)
    questions = sample(dataset, settings)
    if not questions:
        raise ConfigurationError(
            f"{dataset.name}: no query has both relevant and other documents; name data with "
            "negatives or candidates"
        )
    if isinstance(model, Reranker):
        reranker = model
    else:
        form = _dense_form(model, profile)
        reranker = Reranker.from_pretrained(
            model,
            profile=form,
            embedder=embedder,
            device=device,
            dtype=dtype,
            batch_tokens=batch_tokens,
            progress=progress,
        )
    _require_dense(reranker.state)
    return _probed(Measuring(reranker.state, settings, progress), questions, dataset.name)


def _dense_form(model: str | Path, profile: str | Path | Profile) -> Profile:
    """A profile's template and limits, reducing nothing."""
    checkpoint = Checkpoint.open(resolve(str(model)))
    layers, width = checkpoint.config.text.num_hidden_layers, checkpoint.config.text.hidden_size
    found = resolve_profile(profile, layers=layers, hidden_size=width, checkpoint=checkpoint.path)
    return dataclasses.replace(found, exit_layer=layers, band=(0, layers), keep_ratio=1.0)


def _require_dense(state: EngineState) -> None:
    profile, layers = state.profile, state.model.config.text.num_hidden_layers
    if (profile.exit_layer, profile.band, profile.keep_ratio) != (layers, (0, layers), 1.0):
        raise ConfigurationError(
            f"the reranker's profile {profile.name} is reduced; load it with profile='dense'"
        )


def _probed(measuring: Measuring, questions: Sequence[Question], name: str) -> ProbeResult:
    opened = measuring.open(questions)
    whole = Analysis(judgements(opened.questions), opened.scores, measuring.settings)
    proposal = Proposal.measured(measuring, whole, opened.questions)
    choice = proposal.choose()
    part = proposal.part
    return ProbeResult(
        choice=choice,
        profile=_profile(measuring.state, choice),
        settings=measuring.settings,
        facts=_facts(measuring, name, whole, proposal, opened.similarity),
        relevance=whole.relevance(),
        chance=whole.chance(),
        similarity=_similarity(opened.similarity),
        blocking=tuple(proposal.blocking),
        keep=proposal.keep,
        proposed=proposal.checked,
        dense=part.metrics(part.scores[-1]) if part and proposal.checked else {},
        failed=tuple(opened.failed),
        is_interrupted=measuring.is_interrupted,
    )


def _profile(state: EngineState, choice: Choice) -> Profile:
    text = state.model.config.text
    return dataclasses.replace(
        state.profile,
        name="probed",
        exit_layer=choice.exit_layer,
        band=choice.band,
        keep_ratio=choice.keep_ratio,
        layers=text.num_hidden_layers,
        hidden_size=text.hidden_size,
    )


def _similarity(found: Similarity) -> dict[str, Curve]:
    return {
        name: Curve.of({at: Interval(value, value, value) for at, value in enumerate(values, 1)})
        for name, values in found.curves().items()
    }


def _facts(
    measuring: Measuring, name: str, whole: Analysis, proposal: Proposal, similarity: Similarity
) -> dict[str, Any]:
    state, part = measuring.state, proposal.part
    return {
        "machine": {**describe_machine(), "command": measuring.settings.command()},
        "model": {
            "name": state.checkpoint.name,
            "weights": str(state.namespace.identity["weights"]),
            "layers": whole.layers,
            "hidden_size": state.model.config.text.hidden_size,
            "dtype": str(state.model.dtype).removeprefix("torch."),
            "device": state.model.device.type,
            "template": state.profile.name,
            "embedder": state.embedder.checkpoint.name if state.embedder else None,
        },
        "data": {
            "name": name,
            "queries": whole.judged.queries,
            "pairs": len(whole.judged.labels),
            "blocked_queries": part.judged.queries if part else 0,
            "blocked_pairs": len(part.judged.labels) if part else 0,
            "compared_second_segments": similarity.seconds,
        },
        "settings": dataclasses.asdict(measuring.settings),
        "seconds": dict(measuring.seconds),
    }
