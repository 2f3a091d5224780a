"""A teacher's scores of all training pairs: computed once, kept in a file as they are made.

``teacher.f32`` has one little-endian float32 a pair: NaN while it is not known, infinity where the
teacher cannot read the pair. ``teacher.json`` says whose scores of what they are.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from minireranker.engine.progress import Progress
from minireranker.engine.reranker import Reranker
from minireranker.engine.state import EngineState
from minireranker.engine.work import Meter

from .examples import Examples
from .files import write_atomically
from .forward import PairForward
from .plan import Numbers
from .processes import Processes
from .reading import BatchReader
from .scoring import score_batches
from .settings import TrainSettings

_LOG = logging.getLogger(__name__)

_TOGETHER = 16
"""Batches (of each process) between two writes."""


def teacher_scores(
    examples: Examples,
    plan: Sequence[Numbers],
    settings: TrainSettings,
    folder: Path,
    processes: Processes,
) -> NDArray[np.float32]:
    """Raw logit differences, float32 [pairs]; not finite where there is none.

    What ``folder`` has of them already is not computed again; the teacher is loaded only if
    something is missing, and let go of at the end. Raises as ``Reranker.from_pretrained`` does.
    """
    known = TeacherFile(folder, examples, settings)
    missing = [numbers for numbers in plan if np.isnan(known.scores[numbers]).any()]
    if missing:
        teacher = Reranker.from_pretrained(
            str(settings.teacher),
            profile=settings.teacher_profile,
            embedder=settings.embedder,
            device=processes.device(settings.device),
            dtype=settings.dtype,
            progress=settings.progress,
        )
        _fill(known, teacher.state, examples, missing, settings, processes)
    return known.scores


class TeacherFile:
    """Scores on the disk and in memory."""

    def __init__(self, folder: Path, examples: Examples, settings: TrainSettings) -> None:
        """Read what is there, if it is of these pairs and this teacher."""
        self._path, self._about = folder / "teacher.f32", folder / "teacher.json"
        identity = settings.identity()
        names = ("teacher", "teacher_profile", "embedder", "dtype")
        about = {"data": examples.digest(), **{name: identity[name] for name in names}}
        self._text = json.dumps(about, indent=2, sort_keys=True) + "\n"
        self.scores = self._read(len(examples.pairs))

    def write(self) -> None:
        """Whole, or what was there stays."""
        write_atomically(self._path, self.scores.astype("<f4").tobytes())
        write_atomically(self._about, self._text.encode())

    def _read(self, count: int) -> NDArray[np.float32]:
        try:
            if self._about.read_text(encoding="utf-8") == self._text:
                scores = np.frombuffer(self._path.read_bytes(), "<f4").astype(np.float32)
                if len(scores) == count:
                    return scores
        except OSError:
            pass
        return np.full(count, np.nan, np.float32)


def _fill(
    known: TeacherFile,
    state: EngineState,
    examples: Examples,
    missing: Sequence[Numbers],
    settings: TrainSettings,
    processes: Processes,
) -> None:
    reader = BatchReader(state, examples, share=settings.share)
    scorer = PairForward(state.model, state.packer(Meter()), state.band)
    total, step = len(examples.pairs), _TOGETHER * processes.count
    pairs = sum(map(len, missing)) // processes.count
    with Progress("asking the teacher", pairs, settings.progress) as bar:
        for at in range(0, len(missing), step):
            part = missing[at : at + step]
            place = state.model.device
            scores = score_batches(scorer, reader, part, total, processes, place, bar.advance)
            asked = np.concatenate(part)
            found = np.where(np.isnan(scores[asked]), np.inf, scores[asked])
            known.scores[asked] = found
            if processes.rank == 0:
                known.write()
    lost = int(np.isinf(known.scores).sum())
    if lost:
        _LOG.warning("the teacher cannot read %d pair(s); their labels alone are learned", lost)
