"""What ColModernVBERT reads: one strip of tokens a picture or text, as its own processor writes it.

Strips of any content are padded into one batch here, since the processor's batches are of pictures
alone or of texts alone.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from minireranker.configs import Limits
from minireranker.engine.content import Content
from minireranker.engine.media import load_image
from minireranker.engine.tokenizer import require_unicode
from minireranker.errors import InputError, TooLongError

_PIXELS = ("pixel_values", "pixel_attention_mask")


@dataclass(frozen=True, eq=False)
class Strip:
    """One picture or text, of the input at ``place`` in a call."""

    place: int
    ids: Tensor
    """[tokens] int64."""
    pixels: dict[str, Tensor]
    """Of its tiles, [tiles, ...] each; empty for a text."""

    def __len__(self) -> int:
        """Tokens."""
        return len(self.ids)


class Reader:
    """Writes strips with a checkpoint's processor, within limits."""

    def __init__(self, processor: Any, limits: Limits, max_tokens: int) -> None:
        """``max_tokens``: positions the model has."""
        self._processor, self._limits, self._max_tokens = processor, limits, max_tokens
        self._special = sorted(processor.tokenizer.all_special_tokens, key=len, reverse=True)

    def document(self, place: int, content: Content) -> list[Strip]:
        """A strip for each picture, then one for the texts together.

        Raises MediaError, TooLongError, and InputError for videos and for nothing at all.
        """
        if content.videos:
            raise InputError("ColModernVBERT reads no video; pass its frames as images")
        strips = [self._picture(place, image) for image in content.images]
        text = "".join(content.texts)
        if text.strip():
            strips.append(self._strip(place, self._processor(text=[self._plain(text)])))
        if not strips:
            raise InputError("the document holds no image and no text; leave it out")
        return strips

    def query(self, place: int, content: Content, *, augmented: bool) -> Strip:
        """A query's text, followed by ten <end_of_utterance> if ``augmented``.

        Raises TooLongError, and InputError for images and videos.
        """
        if content.is_visual:
            raise InputError("ColModernVBERT searches by text; pass the query as text")
        text = self._plain("".join(content.texts))
        suffix = None if augmented else ""  # None: the processor's own, the ten tokens
        return self._strip(place, self._processor.process_queries([text], suffix=suffix))

    def _picture(self, place: int, source: Any) -> Strip:
        return self._strip(
            place, self._processor.process_images([load_image(source, self._limits)])
        )

    def _strip(self, place: int, made: Any) -> Strip:
        ids = made["input_ids"][0]
        if len(ids) > self._max_tokens:
            raise TooLongError(
                f"{len(ids)} tokens, and ColModernVBERT has {self._max_tokens} positions; split it"
            )
        return Strip(place, ids, {name: made[name][0] for name in _PIXELS if name in made})

    def _plain(self, text: str) -> str:
        """A text in which the name of a control token is no control token."""
        require_unicode(text)
        for name in self._special:
            text = text.replace(name, f"{name[0]} {name[1:]}")
        return text


def grouped(strips: Iterable[Strip], batch_tokens: int) -> Iterator[list[Strip]]:
    """Neighbours together while they fit ``batch_tokens``, padding counted; at least one."""
    group: list[Strip] = []
    for strip in strips:
        longest = max(len(strip), *map(len, group)) if group else len(strip)
        if group and longest * (len(group) + 1) > batch_tokens:
            yield group
            group = []
        group.append(strip)
    if group:
        yield group


def collate(strips: Sequence[Strip], pad: int, device: torch.device) -> dict[str, Tensor]:
    """Model inputs: ids and mask [strips, longest], tiles [strips, most, ...] and zeros behind.

    The model takes a tile of zeros for padding and does not read it.
    """
    longest = max(map(len, strips))
    ids = torch.full((len(strips), longest), pad)
    mask = torch.zeros((len(strips), longest), dtype=torch.int64)
    for row, strip in enumerate(strips):
        ids[row, : len(strip)], mask[row, : len(strip)] = strip.ids, 1
    out = {"input_ids": ids, "attention_mask": mask}
    pictured = [(row, strip) for row, strip in enumerate(strips) if strip.pixels]
    for name in pictured[0][1].pixels if pictured else ():
        first = pictured[0][1].pixels[name]
        most = max(len(strip.pixels[name]) for _, strip in pictured)
        tiles = torch.zeros((len(strips), most, *first.shape[1:]), dtype=first.dtype)
        for row, strip in pictured:
            tiles[row, : len(strip.pixels[name])] = strip.pixels[name]
        out[name] = tiles
    return {name: tensor.to(device) for name, tensor in out.items()}
