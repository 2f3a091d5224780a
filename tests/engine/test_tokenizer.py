"""The text tokenizer: the checkpoint's ids for text, and control tokens by name only."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Encoding, Tokenizer

from minireranker.engine.tokenizer import CONTROL_TOKENS, TextTokenizer
from minireranker.errors import CheckpointError, InputError

ODD = st.text(
    "a1 \t\r\n.,'<>|:-é中😀\0\u0301\u0338\u200d\ufe0f한\u1100\u1161\u11a8\u2028", max_size=14
)
WORDS = st.sampled_from(["the red circle", " don't", "中文", "e\u0301", "\n\n", "  ", "12 345"])
TEXTS = st.lists(st.text(max_size=8) | ODD | WORDS, max_size=5).map("".join)
USER_MARKUP = ["<|im_end|>", "<|vision_start|><|image_pad|>", "a<|video_pad|>b", "<think> </think>"]


@pytest.fixture(scope="module")
def serialised(tiny: Path) -> str:
    """The tokenizer.json of the tiny checkpoint."""
    return (tiny / "tokenizer.json").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def published(serialised: str) -> Tokenizer:
    """The checkpoint's tokenizer whole: control tokens in a text become control tokens."""
    return Tokenizer.from_str(serialised)


@pytest.fixture(scope="module")
def tokenizer(serialised: str) -> TextTokenizer:
    return TextTokenizer(serialised)


def added_ids(published: Tokenizer) -> set[int]:
    return set(published.get_added_tokens_decoder())


@settings(max_examples=30, deadline=None)
@given(text=TEXTS)
def test_text_has_the_ids_of_the_published_tokenizer(
    tokenizer: TextTokenizer, published: Tokenizer, text: str
) -> None:
    assert tokenizer.encode(text) == published.encode(text, add_special_tokens=False).ids


@settings(max_examples=30, deadline=None)
@given(left=TEXTS, text=TEXTS)
def test_two_texts_tokenised_together_are_cut_where_the_second_begins(
    tokenizer: TextTokenizer, published: Tokenizer, left: str, text: str
) -> None:
    head, tail = tokenizer.encode_after(left, text)
    assert head + tail == tokenizer.encode(left + text)
    if left.isascii() and text.isascii():
        # Pieces as strings; only a token that reaches over the cut moves text to the left side.
        shown = published.decode(head, skip_special_tokens=False)
        assert shown.startswith(left)
        assert len(published.decode(tail, skip_special_tokens=False)) <= len(text)


def test_a_token_over_the_cut_belongs_to_the_left(serialised: str) -> None:
    parts = json.loads(serialised)
    parts["model"]["vocab"][".<"] = 100_000
    parts["model"]["merges"].append([".", "<"])
    tokenizer = TextTokenizer(json.dumps(parts))
    head, tail = tokenizer.encode_after("yes.", "<no")
    assert head == [tokenizer.yes, 100_000]
    assert tail == [tokenizer.no]
    assert tokenizer.encode_after("yes", "<no")[1] == tokenizer.encode("<no")
    assert tokenizer.encode_after("yes", "") == ([tokenizer.yes], [])


def test_control_tokens_and_answers_are_those_of_the_checkpoint(
    tokenizer: TextTokenizer, published: Tokenizer
) -> None:
    for name in CONTROL_TOKENS:
        assert tokenizer.added[name] == published.token_to_id(name)
    assert [tokenizer.yes] == published.encode("yes", add_special_tokens=False).ids
    assert [tokenizer.no] == published.encode("no", add_special_tokens=False).ids


def test_control_tokens_in_a_text_stay_text(tokenizer: TextTokenizer, published: Tokenizer) -> None:
    names = [token.content for token in published.get_added_tokens_decoder().values()]
    assert set(CONTROL_TOKENS) <= set(names)
    for text in [*names, *USER_MARKUP, "".join(names)]:
        ids = tokenizer.encode(text)
        assert not added_ids(published) & set(ids), text
        assert published.decode(ids, skip_special_tokens=False) == text


@pytest.mark.parametrize("missing", ["yes", "no", *CONTROL_TOKENS])
def test_a_tokenizer_without_what_is_needed_is_refused(serialised: str, missing: str) -> None:
    parts = json.loads(serialised)
    parts["added_tokens"] = [t for t in parts["added_tokens"] if t["content"] != missing]
    if missing in parts["model"]["vocab"]:
        identifier = parts["model"]["vocab"].pop(missing)
        parts["model"]["vocab"]["unheard of"] = identifier
        merges = parts["model"]["merges"]
        parts["model"]["merges"] = [m for m in merges if missing not in (*m, "".join(m))]
    escaped = missing.replace("|", r"\|")
    with pytest.raises(CheckpointError, match=f"no single token for {escaped}; .* Qwen3-VL"):
        TextTokenizer(json.dumps(parts))


def test_a_damaged_tokenizer_is_refused(serialised: str) -> None:
    parts = json.loads(serialised)
    parts["model"]["merges"].append(["nobody", "knows"])
    with pytest.raises(CheckpointError, match=r"cannot be read .*nobody.*download it again"):
        TextTokenizer(json.dumps(parts))


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("\ud800", r"'\\ud800' after ''"),
        ("abc\udfff", r"'\\udfff' after 'abc'"),
        ("中\ud83d文", r"'\\ud83d' after '中'"),
        ("a" * 99 + "b\ud83d", r"'\\ud83d' after 'a{23}b'"),
    ],
)
def test_a_lone_surrogate_is_refused_with_what_stands_before_it(
    tokenizer: TextTokenizer, text: str, shown: str
) -> None:
    for call in (tokenizer.encode, lambda text: tokenizer.cut_text(text, 200)):
        with pytest.raises(InputError, match=f"lone surrogate, {shown}: .*errors='replace'"):
            call(text)


def test_nul_is_a_character_like_any_other(tokenizer: TextTokenizer, published: Tokenizer) -> None:
    ids = tokenizer.encode("a\0b\0")
    assert published.decode(ids) == "a\0b\0"
    assert tokenizer.cut_text("\0" * 50, 20) == "\0" * 20


@settings(max_examples=30, deadline=None)
@given(text=TEXTS.map(lambda text: text * 3), tokens=st.integers(-2, 30))
def test_cut_text_is_a_beginning_within_the_limit_and_nearly_the_longest(
    tokenizer: TextTokenizer, text: str, tokens: int
) -> None:
    """A cut may fall short by the tokens of one character, and where words merge anew."""
    cut = tokenizer.cut_text(text, tokens)
    assert text.startswith(cut)
    length = len(tokenizer.encode(cut))
    assert length <= max(tokens, 0)
    if len(tokenizer.encode(text)) <= tokens:
        assert cut == text
    elif cut != text:
        assert length > tokens - 8
        assert tokenizer.cut_text(cut, tokens) == cut


@pytest.mark.parametrize(
    "text",
    ["the red circle " * 9_000, "e" + "\u0316\u0301" * 50_000, "👩‍👩‍👧" * 20_000, "\n" * 99_999],
    ids=["words", "marks", "emoji", "newlines"],
)
def test_long_texts_are_cut_in_a_few_steps(
    tokenizer: TextTokenizer, monkeypatch: pytest.MonkeyPatch, text: str
) -> None:
    encoded: list[int] = []
    encode = tokenizer._encode

    def counted(part: str) -> Encoding:
        encoded.append(len(part))
        return encode(part)

    monkeypatch.setattr(tokenizer, "_encode", counted)
    cut = tokenizer.cut_text(text, 1_000)
    assert 900 < len(encode(cut).ids) <= 1_000
    assert sum(encoded) <= 4 * 1_000 * tokenizer.longest
