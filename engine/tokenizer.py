"""Text to token ids, in a way that user text can never become a control token.

User text goes through the checkpoint's tokenizer with its added tokens removed: ``<|image_pad|>``
typed by a user is eleven or so ordinary tokens. Control tokens enter by id only, from the template.
"""

from __future__ import annotations

import json

from tokenizers import Encoding, Tokenizer

from minireranker.errors import CheckpointError, InputError

CONTROL_TOKENS = (
    "<|im_start|>",
    "<|im_end|>",
    "<|vision_start|>",
    "<|vision_end|>",
    "<|image_pad|>",
    "<|video_pad|>",
)


class TextTokenizer:
    """The checkpoint's byte-level BPE without its added tokens, and the ids of those by name."""

    def __init__(self, tokenizer_json: str) -> None:
        """``tokenizer_json``: the tokenizers library's serialisation.

        Raises CheckpointError where it cannot be read, and where ``yes``, ``no`` or a control token
        is not one token.
        """
        parts = json.loads(tokenizer_json)
        added = {entry["content"]: int(entry["id"]) for entry in parts["added_tokens"]}
        self.added = added
        """Ids of all added tokens, by name."""
        parts.update(added_tokens=[], post_processor=None, truncation=None, padding=None)
        try:
            self._plain = Tokenizer.from_str(json.dumps(parts))
        except Exception as error:  # the tokenizers library raises bare Exception
            raise CheckpointError(
                f"the tokenizer cannot be read ({error}); download it again"
            ) from error
        vocabulary = self._plain.get_vocab()
        self.longest = max(map(len, vocabulary))
        """Characters of the longest token, at least."""
        self.yes, self.no = vocabulary.get("yes", -1), vocabulary.get("no", -1)
        missing = [name for name in CONTROL_TOKENS if name not in added]
        missing += [word for word in ("yes", "no") if vocabulary.get(word) is None]
        if missing:
            raise CheckpointError(
                f"the tokenizer has no single token for {', '.join(missing)}; this is not the "
                "tokenizer of a Qwen3-VL checkpoint"
            )

    def encode(self, text: str) -> list[int]:
        """Ids of ``text``. Raises InputError for text that is not valid Unicode."""
        return self.encode_after("", text)[1]

    def encode_after(self, left: str, text: str) -> tuple[list[int], list[int]]:
        """Ids of ``left + text``, cut where ``text`` begins.

        A token that reaches over the cut belongs to ``left``: what is tokenised together stays as
        published, and the second list depends on ``left`` only through its last characters.
        """
        encoding = self._encode(left + text)
        cut = next(
            (i for i, (start, _) in enumerate(encoding.offsets) if start >= len(left)),
            len(encoding.ids),
        )
        return encoding.ids[:cut], encoding.ids[cut:]

    def cut_text(self, text: str, tokens: int) -> str:
        """The longest beginning of ``text`` found that has at most ``tokens`` tokens."""
        text = text[: max(tokens, 0) * self.longest]  # no token has more characters
        while text and tokens > 0:
            encoding = self._encode(text)
            if len(encoding.ids) <= tokens:
                return text
            # Cutting may merge differently at the new end, hence the loop; it always shrinks.
            end = encoding.offsets[tokens - 1][1]
            text = text[: min(end, len(text) - 1)]
        return ""

    def _encode(self, text: str) -> Encoding:
        require_unicode(text)
        return self._plain.encode(text, add_special_tokens=False)


def ids_around(tokenizer_json: str) -> tuple[list[int], list[int]]:
    """Ids that the checkpoint's own tokenizer puts before and behind a text, if any."""
    whole = Tokenizer.from_str(tokenizer_json)
    bare = whole.encode("yes", add_special_tokens=False).ids
    ids = whole.encode("yes", add_special_tokens=True).ids
    at = next(i for i in range(len(ids)) if ids[i : i + len(bare)] == bare)
    return ids[:at], ids[at + len(bare) :]


def require_unicode(text: str) -> None:
    """Raise InputError for a ``str`` that no encoding has: one with lone surrogates."""
    try:
        text.encode("utf-8")
    except UnicodeEncodeError as error:
        before = text[max(0, error.start - 24) : error.start]
        raise InputError(
            f"text has a lone surrogate, {text[error.start]!r} after {before!r}: not valid "
            "Unicode; decode it with errors='replace' before passing it"
        ) from None
