"""What MetaEmbed in training finds among held-out documents, in each of its groups."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import islice

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from minireranker.kernels.maxsim import maxsim
from minireranker.retrieval.late_interaction import GROUPS
from minireranker.retrieval.late_interaction.group import CANDIDATE_TOKENS, Group

from .backbone import Backbone
from .encoding import Encoding
from .held_out import DEPTH, RetrievalLook, documents_of, measure
from .lessons import Input, Question

_TOGETHER = 64
"""Inputs whose prompts, and documents whose vectors, exist at once."""


class MetaEmbedHeldOut:
    """Every held-out query against every held-out document."""

    def __init__(
        self, backbone: Backbone, questions: Sequence[Question], encoding: Encoding
    ) -> None:
        """``questions``: those that can be read."""
        self._backbone, self._encoding = backbone, encoding
        self._questions = questions
        self._documents = documents_of(questions)

    def look(self, step: int) -> RetrievalLook:
        """With what is trained as it is now. A document that cannot be read any more is last."""
        found = self._scores()
        measured = {
            group: measure(self._questions, self._documents, found[at])
            for at, group in enumerate(GROUPS)
        }
        names = ("hit@1", f"ndcg@{DEPTH}")
        groups = {
            ",".join(map(str, group)): dict(zip(names, values, strict=True))
            for group, values in measured.items()
        }
        return RetrievalLook(step, *measured[GROUPS[-1]], groups)

    def _scores(self) -> NDArray[np.float32]:
        """[groups, queries, documents]; -inf where a side cannot be read."""
        rows = {question.query: at for at, question in enumerate(self._questions)}
        columns = {Input(content, False): at for at, content in enumerate(self._documents)}
        out = np.full((len(GROUPS), len(rows), len(columns)), -np.inf, np.float32)
        asked = dict(pair for part in self._vectors(list(rows)) for pair in part.items())
        if not asked:
            return out
        listed = [rows[item] for item in asked]
        queries = torch.stack(list(asked.values()))
        for part in self._vectors(list(columns)):
            places = [columns[item] for item in part]
            documents = torch.cat(list(part.values()))
            for at, group in enumerate(GROUPS):
                out[at][np.ix_(listed, places)] = _scored(queries, documents, group)
        return out

    def _vectors(self, items: Sequence[Input]) -> Iterator[dict[Input, Tensor]]:
        """A few at a time, of those that can be read."""
        rest = iter(items)
        while group := list(islice(rest, _TOGETHER)):
            segments = self._backbone.segments(group)
            found: dict[Input, Tensor] = {}
            with torch.no_grad():
                for part in self._encoding.passes(segments.items()):
                    vectors = self._encoding.vectors(part)
                    found |= {item: v for (item, _), v in zip(part, vectors, strict=True)}
            if found:
                yield found


def _scored(queries: Tensor, documents: Tensor, group: Group) -> NDArray[np.float32]:
    """``queries`` [n, 16, dim], ``documents`` [64 m, dim]: scores [n, m]."""
    asked = queries[:, : group.queries]
    starts = torch.arange(0, len(documents), CANDIDATE_TOKENS, device=documents.device)
    scores = maxsim(
        asked.flatten(0, 1),
        documents,
        cu_seqlens_q=[group.queries * at for at in range(len(asked) + 1)],
        starts=starts,
        lengths=torch.full_like(starts, group.candidates),
    )
    return scores.cpu().numpy()
