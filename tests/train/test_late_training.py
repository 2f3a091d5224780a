"""MetaEmbed and SMART are learned, killed, taken up again, loaded, and score as in training."""

from __future__ import annotations

import _thread
import json
import logging
import os
import runpy
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from minireranker.engine.embedder import Embedder
from minireranker.errors import CheckpointError, ConfigurationError
from minireranker.models.checkpoint import Checkpoint
from minireranker.retrieval.late_interaction import (
    GROUPS,
    Adapter,
    MetaEmbed,
    MetaTokens,
    Smart,
    open_encoder,
)
from minireranker.train.late import (
    LateResult,
    MetaEmbedSettings,
    SmartSettings,
    train_metaembed,
    train_smart,
)

LATE = runpy.run_path(str(Path(__file__).with_name("late_runs.py")))
QUERIES = list(LATE["QUERIES"])
META: dict[str, Any] = {"epochs": 13, "learning_rate": 3e-3, "save_every": 6, "evaluate_every": 7}
SMART: dict[str, Any] = {
    **{"epochs": 50, "batch_queries": 4, "learning_rate": 3e-2},
    **{"save_every": 20, "evaluate_every": 30},
}
PROGRAM = """
import json, sys
from minireranker.train.late import SmartSettings, train_smart
model, data, out, given = sys.argv[1:]
train_smart(SmartSettings(model, (data,), out, held_out=(data,), progress=False,
                          **json.loads(given)))
"""


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return Path(LATE["write_lessons"](tmp_path_factory.mktemp("lessons")))


def meta_settings(model: Path, data: Path, out: Path, **other: Any) -> MetaEmbedSettings:
    given = META | {"held_out": (data,), "progress": False} | other
    return MetaEmbedSettings(str(model), (str(data),), out, **given)


def smart_settings(model: Path, data: Path, out: Path, **other: Any) -> SmartSettings:
    given = SMART | {"held_out": (data,), "progress": False} | other
    return SmartSettings(str(model), (str(data),), out, **given)


@pytest.fixture(scope="module")
def meta(small: Path, data: Path, tmp_path_factory: pytest.TempPathFactory) -> LateResult:
    """Never interrupted."""
    return train_metaembed(meta_settings(small, data, tmp_path_factory.mktemp("meta") / "run"))


@pytest.fixture(scope="module")
def smart(small: Path, data: Path, tmp_path_factory: pytest.TempPathFactory) -> LateResult:
    """Never interrupted."""
    return train_smart(smart_settings(small, data, tmp_path_factory.mktemp("smart") / "run"))


def test_every_group_learns_eight_examples_by_heart(
    small: Path, data: Path, meta: LateResult
) -> None:
    rows = LATE["logged"](meta.log.parent)
    losses = [row["loss"] for row in rows if "loss" in row]
    assert len(losses) == meta.steps == 13
    assert meta.loss < 0.3 < 1.5 < losses[0]
    encoder = open_encoder("metaembed", meta.model, dtype="float32")
    assert isinstance(encoder, MetaEmbed)
    queries = encoder.encode_queries(QUERIES)
    documents = encoder.encode_documents(LATE["documents_of"](data)).vectors
    for group in GROUPS:
        scores = encoder.with_group(tuple(group)).score(queries, documents)
        assert scores.argmax(1).tolist() == list(range(8)), group
    assert meta.best is not None
    assert meta.best.hit == meta.best.ndcg == 1.0
    assert set(meta.best.groups) == {"1,1", "2,4", "4,8", "8,16", "16,64"}
    before, after = (load_file(path / "model.safetensors") for path in (small, meta.model))
    moved = {name for name in after if not torch.equal(before[name], after[name])}
    assert len(moved) == 7 * 7
    assert all("_proj" in name and "language_model" in name for name in moved)
    assert str(meta.model.parent) not in (meta.model / "training.json").read_text()


def loss_of(scores: list[np.ndarray[Any, Any]]) -> float:
    """InfoNCE of eight queries, each with the document of its place, averaged over groups."""
    found = []
    for group in scores:
        logits = group.astype(np.float64) / 0.03
        logits -= logits.max(1, keepdims=True)
        found.append((np.log(np.exp(logits).sum(1)) - np.diag(logits)).mean())
    return float(np.mean(found))


def test_what_is_loaded_scores_as_in_training(small: Path, data: Path, tmp_path: Path) -> None:
    """The loss of the step after is the loss of what was written before it."""
    one, two = (
        train_metaembed(meta_settings(small, data, tmp_path / str(steps), max_steps=steps, **rate))
        for steps in (1, 2)
        for rate in [{"warmup": 1.0, "learning_rate": 2e-3 * steps, "held_out": ()}]
    )
    encoder = MetaEmbed.from_pretrained(one.model, dtype="float32")
    queries = encoder.encode_queries(QUERIES)
    documents = encoder.encode_documents(LATE["documents_of"](data)).vectors
    scores = [encoder.with_group(tuple(group)).score(queries, documents) for group in GROUPS]
    assert loss_of(scores) == pytest.approx(two.loss, rel=2e-3)
    assert two.loss < LATE["logged"](two.log.parent)[0]["loss"]


@contextmanager
def interrupted(out: Path, lines: int) -> Iterator[None]:
    """The caller is interrupted, as by Ctrl-C, once so many lines are in the log."""

    def watch() -> None:
        end = time.monotonic() + 60
        while LATE["lines"](out) < lines and time.monotonic() < end:
            time.sleep(0.0005)
        _thread.interrupt_main()

    watcher = threading.Thread(target=watch)
    watcher.start()
    with pytest.raises(KeyboardInterrupt):
        yield
    watcher.join()


def test_an_interrupted_run_ends_as_an_uninterrupted_one(
    small: Path, data: Path, tmp_path: Path
) -> None:
    few = data.with_name("few.jsonl")
    few.write_text("".join(data.read_text().splitlines(keepends=True)[2:5]))
    own = {"epochs": 3, "batch_queries": 2, "save_every": 2, "evaluate_every": 3}
    out, given = tmp_path / "killed", own | {"learning_rate": 3e-3}
    whole = train_metaembed(meta_settings(small, few, tmp_path / "whole", **given))
    assert whole.steps == 6
    with interrupted(out, 4):
        train_metaembed(meta_settings(small, few, out, **given))
    done = len([row for row in LATE["logged"](out) if "loss" in row])
    assert 2 < done < whole.steps
    assert not (out / "model").exists()
    again = train_metaembed(meta_settings(small, few, out, **given))
    assert LATE["logged"](out) == LATE["logged"](whole.log.parent)
    assert (again.loss, again.best) == (whole.loss, whole.best)
    assert Checkpoint.open(again.model).digest() == Checkpoint.open(whole.model).digest()
    assert MetaTokens.load(again.model).digest == MetaTokens.load(whole.model).digest
    with pytest.raises(ConfigurationError, match=r"temperature was 0\.03, is 0\.1"):
        train_metaembed(meta_settings(small, few, out, **given, temperature=0.1))


def test_training_goes_on_from_tokens_that_are_there(
    data: Path, meta: LateResult, tmp_path: Path
) -> None:
    given = meta_settings(meta.model, data, tmp_path / "on", max_steps=1, learning_rate=1e-6)
    more = train_metaembed(given)
    assert more.loss < 0.3
    before, after = (MetaTokens.load(path) for path in (meta.model, more.model))
    assert 0 < float((before.all - after.all).abs().max()) < 1e-5
    folder = shutil.copytree(meta.model, tmp_path / "other")
    MetaTokens.random(8, 0).save(folder)
    with pytest.raises(CheckpointError, match="8 wide"):
        train_metaembed(meta_settings(folder, data, tmp_path / "refused"))


def smart_scores(small: Path, data: Path, file: Path) -> tuple[Any, Any]:
    """Of an adapter as it is used: whole, and the late part of it."""
    encoder = Smart(Embedder.from_pretrained(small, dtype="float32"), Adapter.load(file))
    queries = encoder.encode_queries(QUERIES)
    documents = encoder.encode_documents(LATE["documents_of"](data)).vectors
    whole = encoder.score(queries, documents)
    assert queries.pooled is not None
    assert documents.pooled is not None
    return whole, whole - (queries.pooled @ documents.pooled.T).numpy()


def test_the_adapter_learns_the_late_score(small: Path, data: Path, smart: LateResult) -> None:
    losses = [row["loss"] for row in LATE["logged"](smart.log.parent) if "loss" in row]
    assert np.mean(losses[-4:]) < 0.75 * np.mean(losses[:4])
    assert smart.best is not None
    whole, late = smart_scores(small, data, smart.model)
    if smart.best.step == smart.steps:
        assert (late.argmax(1) == np.arange(8)).mean() >= 0.75
    assert smart.best.hit == (whole.argmax(1) == np.arange(8)).mean()


def test_the_adapter_scores_as_in_training(small: Path, data: Path, tmp_path: Path) -> None:
    """With a rate next to nothing: the only step's loss is that of the adapter in the file."""
    given = {"batch_queries": 8, "learning_rate": 1e-9, "epochs": 1, "held_out": ()}
    result = train_smart(smart_settings(small, data, tmp_path, **given))
    _, late = smart_scores(small, data, result.model)
    assert loss_of([late]) == pytest.approx(result.loss, rel=1e-3)


def kill_after(lines: int, arguments: list[str], out: Path) -> None:
    """Run the program, and kill it without a word once so many lines are in its log."""
    environment = os.environ | {"PYTHONWARNINGS": "default"}
    process = subprocess.Popen([sys.executable, "-P", "-c", PROGRAM, *arguments], env=environment)
    try:
        end = time.monotonic() + 120
        while LATE["lines"](out) < lines:
            assert process.poll() is None, "it ended before it could be killed"
            assert time.monotonic() < end, "it takes too long"
            time.sleep(0.002)
        process.send_signal(signal.SIGKILL)
    finally:
        process.kill()
        assert process.wait() == -signal.SIGKILL


def test_a_killed_adapter_ends_as_an_uninterrupted_one(
    small: Path, data: Path, smart: LateResult, tmp_path: Path
) -> None:
    out = tmp_path / "run"
    kill_after(45, [str(small), str(data), str(out), json.dumps(SMART)], out)
    assert not (out / "adapter.safetensors").exists()
    # As if the states had been cut off too, in the middle of a line.
    whole = {path.name: path.read_bytes() for path in out.glob("states-*")}
    kept = (out / "states-data.jsonl").read_bytes()
    (out / "states-data.jsonl").write_bytes(kept[: len(kept) // 2])
    (out / "states-held-out.bin").write_bytes(whole["states-held-out.bin"][:5000])
    again = train_smart(smart_settings(small, data, out))
    assert {path.name: path.read_bytes() for path in out.glob("states-*")} == whole
    assert LATE["logged"](out) == LATE["logged"](smart.log.parent)
    assert again.model.read_bytes() == smart.model.read_bytes()


@pytest.mark.parametrize("kind", ["metaembed", "smart"])
def test_what_cannot_be_read_is_left_out_and_named(
    kind: str, small: Path, data: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "cut.png").write_bytes((data.parent / "0.png").read_bytes()[:60])
    rows = [
        {"query": "blue", "positives": ["a blue table"], "negatives": [{"image": "cut.png"}]},
        {"query": "red", "positives": [{"image": "cut.png"}, "a red table"]},
    ]
    path = tmp_path / "data.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    out = tmp_path / "run"
    with caplog.at_level(logging.WARNING):
        if kind == "metaembed":
            result = train_metaembed(meta_settings(small, path, out, epochs=1, held_out=()))
        else:
            result = train_smart(smart_settings(small, path, out, epochs=1, held_out=()))
    (skipped,) = result.skipped
    assert (skipped.origin, skipped.pairs) == (f"{path}, line 1", 2)
    assert "cut.png" in skipped.reason
    assert "2 pair(s) are skipped" in caplog.text
    (record,) = LATE["logged"](out)
    assert (record["queries"], record["documents"]) == (2, 2)
    path.write_text(json.dumps(rows[1] | {"positives": [{"image": "cut.png"}]}) + "\n")
    with pytest.raises(ConfigurationError, match=r"first: .*cut\.png"):
        train_metaembed(meta_settings(small, path, tmp_path / "none", held_out=()))


def test_several_processes_are_refused(
    small: Path, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    for settings, run in ((meta_settings, train_metaembed), (smart_settings, train_smart)):
        with pytest.raises(ConfigurationError, match="one process"):
            run(settings(small, data, tmp_path))
