"""What an embedding model reads: its chat template around an instruction and one side's content.

Source: the published Qwen3-VL-Embedding code (format_model_input): the instruction is the system
message, gets a full stop where it ends in no punctuation, and content is videos, images, text.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence

import numpy as np

from minireranker.errors import TooLongError
from minireranker.models.chat_template import ChatFrame

from .draft import Draft, Segment
from .pixels import Visual
from .tokenizer import TextTokenizer

DEFAULT_INSTRUCTION = "Represent the user's input."
EMPTY = "NULL"
"""Stands for content without text, image or video."""


class EmbeddingPrompt:
    """Writes prompts in one checkpoint's chat template."""

    def __init__(
        self,
        tokenizer: TextTokenizer,
        frame: ChatFrame,
        around: tuple[Sequence[int], Sequence[int]],
        max_tokens: int,
    ) -> None:
        """``around``: ids that the checkpoint's tokenizer puts before and behind every text."""
        self.tokenizer, self.max_tokens = tokenizer, max_tokens
        self._frame, self._around = frame, around
        names = sorted(tokenizer.added, key=len, reverse=True)
        self._added = re.compile("(" + "|".join(map(re.escape, names)) + ")")

    def segment(self, texts: Sequence[str], visuals: Sequence[Visual], instruction: str) -> Segment:
        """The whole prompt, every visual token kept; its text is cut to ``max_tokens``.

        Raises TooLongError if the visual tokens alone are too many.
        """
        text = "".join(texts)[: self.max_tokens * self.tokenizer.longest + 1]
        if not text.strip() and not visuals:
            text = EMPTY
        segment = self._write(text, visuals, instruction)
        while (excess := len(segment) - self.max_tokens) > 0 and text:
            text = self.tokenizer.cut_text(text, len(self.tokenizer.encode(text)) - excess)
            segment = self._write(text, visuals, instruction)
        if excess > 0:
            raise TooLongError(
                f"{sum(v.tokens for v in visuals)} visual tokens and the instruction make "
                f"{len(segment)} tokens for the embedder, more than {self.max_tokens}; use fewer "
                "or smaller images, or a shorter instruction"
            )
        return segment

    def _write(self, text: str, visuals: Sequence[Visual], instruction: str) -> Segment:
        draft = Draft(self.tokenizer)
        before, after = self._around
        if before:
            draft.add_ids(before)
        self._add_frame(draft, self._frame.head)
        draft.add_text(punctuated(instruction))
        self._add_frame(draft, self._frame.between)
        kept = [np.arange(visual.tokens) for visual in visuals]
        for visual, every in zip(visuals, kept, strict=True):
            draft.add_visual(visual, every)
        draft.add_text(text)
        self._add_frame(draft, self._frame.tail)
        if after:
            draft.add_ids(after)
        return draft.finish(visuals, kept)

    def _add_frame(self, draft: Draft, text: str) -> None:
        """Template text, in which added tokens are written out."""
        for part in self._added.split(text):
            if part in self.tokenizer.added:
                draft.add_control(part)
            else:
                draft.add_text(part)


def punctuated(instruction: str) -> str:
    """With a full stop if it ends in no punctuation mark; the default one if it is blank."""
    text = instruction.strip()
    if not text:
        return DEFAULT_INSTRUCTION
    return text if unicodedata.category(text[-1]).startswith("P") else text + "."
