"""Segments: concatenated they are what the published pipeline makes of the pair."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer
from transformers import PreTrainedTokenizerFast

from minireranker import Limits, Template
from minireranker.bench.oracle import FullSequenceModel
from minireranker.engine.draft import Segment
from minireranker.engine.pixels import Visual
from minireranker.engine.prompt import Prompt, Side
from minireranker.engine.tokenizer import TextTokenizer

PUBLISHED = Template(
    order="query-first", header_end="", query_label="<Query>:", document_label="<Document>:"
)
TEMPLATES = [PUBLISHED, Template()]

WORDS = ["the red circle", "Query", "don't", "'s", "12 345", "中文。", "👩‍👩‍👧", "e\u0301", "NULL"]
EDGES = ["", " ", "\n", "  \n ", ".", ",", '"', "<", ">:", "</", "\u0338", "\u0301", "\u00a0", "\t"]
texts = st.tuples(
    st.sampled_from(EDGES) | st.text(max_size=2),
    st.lists(st.sampled_from(WORDS) | st.text(max_size=6), max_size=4).map(" ".join),
    st.sampled_from(EDGES) | st.text(max_size=2),
).map("".join)


def visual(kind: Any, patches: int, rows: int, columns: int, seconds: float = 0.5) -> Visual:
    """An image or video of that many temporal patches and rows and columns of merged tokens."""
    count = 1 if kind == "image" else 2 * patches
    frames = np.zeros((count, 32 * rows, 32 * columns, 3), np.uint8)
    times = () if kind == "image" else tuple(seconds + 1.37 * n for n in range(patches))
    return Visual(kind, frames, times, (64, 64))


visuals = st.lists(
    st.builds(
        visual,
        st.sampled_from(["image", "video"]),
        st.integers(1, 3),
        st.integers(1, 5),
        st.integers(1, 5),
        st.floats(0, 9_999),
    ),
    max_size=3,
)


def side(text: str = "", *seen: Visual) -> Side:
    """A side of which every visual token is kept."""
    return Side((text,), seen, tuple(np.arange(item.tokens) for item in seen))


def rendered_side(template: Template, part: Side, is_query: bool) -> str:
    """A side as the published chat template and processor write it."""
    out = template.query_label if is_query else template.document_label
    for item in part.visuals:
        size = item.tokens // item.grid[0]
        for time in item.timestamps or [None]:
            pad = "<|image_pad|>" if time is None else "<|video_pad|>"
            out += "" if time is None else f"<{time:.1f} seconds>"
            out += f"<|vision_start|>{pad * size}<|vision_end|>"
    text = "".join(part.texts)
    return out + (text if text.strip() or part.visuals else "NULL")


def rendered(template: Template, asked: str, first: Side, second: Side, query_first: bool) -> str:
    """A whole pair, likewise."""
    return (
        f"<|im_start|>system\n{template.system}<|im_end|>\n"
        f"<|im_start|>user\n{template.instruct_label}{asked}{template.header_end}"
        f"{rendered_side(template, first, query_first)}{template.first_end}"
        f"{rendered_side(template, second, not query_first)}<|im_end|>\n<|im_start|>assistant\n"
    )


def segments(
    prompt: Prompt, asked: str, first: Side, second: Side, *, query_first: bool
) -> list[Segment]:
    return [
        prompt.header(asked, query_first),
        prompt.first(first, asked, is_query=query_first),
        prompt.second(second, is_query=not query_first),
    ]


def joined_ids(parts: list[Segment]) -> list[int]:
    return list(np.concatenate([part.input_ids for part in parts]).tolist())


@pytest.fixture(scope="session", params=["as trained", "merging"])
def tokenizer_json(request: pytest.FixtureRequest, tiny: Path) -> str:
    """The tiny tokenizer, and one that also merges where segments meet, as the published one."""
    whole = (tiny / "tokenizer.json").read_text(encoding="utf-8")
    parts = json.loads(whole)
    if request.param == "as trained":
        return whole
    merges = [
        ".<",
        "Ġ<",
        "Ċ<",
        "ĊĊ",
        ">:",
        ":<",
        "'<",
        "<Query",
        ":Ċ",
        ":Ġ",
        ".Ċ",
        "?Ċ",
        '"Ċ',
        ">Ċ",
    ]
    for merged in merges:
        parts["model"]["vocab"][merged] = len(parts["model"]["vocab"])
        parts["model"]["merges"].append([merged[0], merged[1:]])
    for token in parts["added_tokens"]:
        token["id"] += len(merges)
    return json.dumps(parts)


@pytest.fixture(scope="session")
def published(tokenizer_json: str) -> Tokenizer:
    """The whole tokenizer: control tokens in a text become control tokens."""
    return Tokenizer.from_str(tokenizer_json)


@pytest.fixture(scope="session")
def prompt_of(tokenizer_json: str) -> Callable[..., Prompt]:
    """``prompt_of(template, limits)``."""
    tokenizer = TextTokenizer(tokenizer_json)
    return lambda template=PUBLISHED, limits=None: Prompt(tokenizer, template, limits or Limits())


@settings(max_examples=30, deadline=None)
@given(
    template=st.sampled_from(TEMPLATES),
    query_first=st.booleans(),
    asked=texts,
    words=st.tuples(texts, texts),
    seen=st.tuples(visuals, visuals),
)
def test_segments_are_the_published_ids_cut_in_three(
    prompt_of: Callable[..., Prompt],
    published: Tokenizer,
    template: Template,
    query_first: bool,
    asked: str,
    words: tuple[str, str],
    seen: tuple[list[Visual], list[Visual]],
) -> None:
    first, second = (side(text, *items) for text, items in zip(words, seen, strict=True))
    parts = segments(prompt_of(template), asked, first, second, query_first=query_first)
    whole = rendered(template, asked, first, second, query_first)
    assert joined_ids(parts) == published.encode(whole, add_special_tokens=False).ids


@pytest.mark.parametrize("template", TEMPLATES, ids=["published", "vision-first"])
@pytest.mark.parametrize(
    "ending", ["answer", "answer.", "answer ", "answer\n", "answer'", "答。", ""]
)
def test_a_token_over_the_end_of_the_header_belongs_to_the_header(
    prompt_of: Callable[..., Prompt], published: Tokenizer, template: Template, ending: str
) -> None:
    asked, first, second = f"Find the {ending}", side("a red circle"), side("?")
    prompt = prompt_of(template)
    parts = segments(prompt, asked, first, second, query_first=True)
    whole = published.encode(rendered(template, asked, first, second, True)).ids
    assert joined_ids(parts) == whole
    others = segments(prompt, asked, side("", visual("image", 1, 1, 2)), second, query_first=True)
    assert len(others[0]) == len(parts[0])
    joint = published.token_to_id(".<")
    if joint is not None and template is PUBLISHED and ending == "answer.":
        assert parts[0].input_ids[-1] == joint


def test_the_string_above_is_what_the_chat_template_writes(tiny: Path) -> None:
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_file=str(tiny / "tokenizer.json"),
        chat_template=(tiny / "chat_template.jinja").read_text(encoding="utf-8"),
    )
    content: list[dict[str, str]] = [
        {"type": "text", "text": "<Instruct>: Find it."},
        {"type": "text", "text": "<Query>:"},
        {"type": "image", "image": "picture.png"},
        {"type": "text", "text": "a text"},
        {"type": "text", "text": "\n<Document>:"},
        {"type": "text", "text": "NULL"},
    ]
    system = [{"type": "text", "text": PUBLISHED.system}]
    written = tokenizer.apply_chat_template(
        [{"role": "system", "content": system}, {"role": "user", "content": content}],
        tokenize=False,
        add_generation_prompt=True,
    )
    first = side("a text", visual("image", 1, 1, 1))
    assert written == rendered(PUBLISHED, "Find it.", first, side(), True)


@settings(max_examples=30, deadline=None)
@given(words=st.tuples(texts, texts), seen=st.tuples(visuals, visuals))
def test_positions_are_those_of_transformers(
    prompt_of: Callable[..., Prompt],
    oracle: FullSequenceModel,
    words: tuple[str, str],
    seen: tuple[list[Visual], list[Visual]],
) -> None:
    first, second = (side(text, *items) for text, items in zip(words, seen, strict=True))
    prompt = prompt_of()
    parts = segments(prompt, "Find it.", first, second, query_first=True)
    ids = np.array(joined_ids(parts))
    control = prompt.tokenizer.added
    types = (ids == control["<|image_pad|>"]) + 2 * (ids == control["<|video_pad|>"])
    grids = {
        f"{kind}_grid_thw": torch.tensor([v.grid for v in (*seen[0], *seen[1]) if v.kind == kind])
        for kind in ("image", "video")
    }
    expected, _ = oracle.model.model.get_rope_index(
        torch.from_numpy(ids)[None],
        mm_token_type_ids=torch.from_numpy(types)[None],
        **{name: grid if len(grid) else None for name, grid in grids.items()},
    )
    starts = np.cumsum([0, *(part.span for part in parts)])
    found = [part.positions + start for part, start in zip(parts, starts, strict=False)]
    assert np.concatenate(found, axis=1).tolist() == expected[:, 0].tolist()
    assert starts[-1] == expected.max() + 1


@settings(max_examples=30, deadline=None)
@given(text=texts, seen=visuals, data=st.data(), is_first=st.booleans())
def test_pruning_drops_tokens_and_moves_none(
    prompt_of: Callable[..., Prompt],
    text: str,
    seen: list[Visual],
    data: st.DataObject,
    is_first: bool,
) -> None:
    prompt, whole = prompt_of(), side(text, *seen)
    kept = [data.draw(st.sets(st.integers(0, v.tokens - 1), min_size=1)) for v in seen]
    few = dataclasses.replace(whole, kept=tuple(np.array(sorted(part)) for part in kept))
    full, pruned = (
        prompt.first(part, "i", is_query=True) if is_first else prompt.second(part, is_query=True)
        for part in (whole, few)
    )
    chosen = np.concatenate([v.tokens * [False] for v in seen] or [[]]).astype(bool)
    offset = 0
    for item, part in zip(seen, kept, strict=True):
        chosen[[offset + token for token in part]] = True
        offset += item.tokens
    stays = np.ones(len(full), bool)
    stays[full.visual_rows] = chosen
    assert pruned.span == full.span
    assert pruned.input_ids.tolist() == full.input_ids[stays].tolist()
    assert pruned.positions.tolist() == full.positions[:, stays].tolist()
    pads = [prompt.tokenizer.added[name] for name in ("<|image_pad|>", "<|video_pad|>")]
    assert pruned.visual_rows.tolist() == np.flatnonzero(np.isin(pruned.input_ids, pads)).tolist()
    assert len(pruned.visual_rows) == chosen.sum()


@pytest.mark.parametrize("text", ["", "  ", "\n\t"])
def test_a_side_without_content_is_null(prompt_of: Callable[..., Prompt], text: str) -> None:
    prompt = prompt_of()
    for empty in (side(text), Side(()), Side((text, text))):
        assert prompt.second(empty, is_query=False).digest() == (
            prompt.second(side("NULL"), is_query=False).digest()
        )
    pictured = prompt.second(side("", visual("image", 1, 2, 2)), is_query=False)
    assert len(pictured) < len(
        prompt.second(side("NULL", visual("image", 1, 2, 2)), is_query=False)
    )


def test_texts_of_a_side_are_one_text(prompt_of: Callable[..., Prompt]) -> None:
    prompt = prompt_of()
    apart, together = Side(("a red ", "circ", "le.")), side("a red circle.")
    assert prompt.second(apart, is_query=True).digest() == (
        prompt.second(together, is_query=True).digest()
    )


def test_the_header_depends_on_the_instruction_and_is_written_once(
    prompt_of: Callable[..., Prompt],
) -> None:
    prompt = prompt_of()
    header = prompt.header("Find it.", True)
    assert prompt.header("Find it.", True) is header
    assert prompt.header("Find it!", True).digest() != header.digest()
    assert header.span == len(header)
    assert not header.visuals


def test_a_segment_depends_on_its_own_side_and_its_place(prompt_of: Callable[..., Prompt]) -> None:
    prompt, part = prompt_of(), side("a red circle")
    first = prompt.first(part, "Find it.", is_query=True)
    assert first.digest() == prompt.first(part, "Find it.", is_query=True).digest()
    assert first.digest() != prompt.first(part, "Find it.", is_query=False).digest()
    assert first.digest() != prompt.second(part, is_query=True).digest()


def test_the_digest_tells_every_field_apart(prompt_of: Callable[..., Prompt]) -> None:
    def segment() -> Segment:
        pair = side("text", visual("image", 1, 2, 2), visual("video", 2, 2, 2))
        return prompt_of().first(pair, "Find it.", is_query=True)

    base = segment()
    assert segment().digest() == base.digest()
    image, video = base.visuals
    brighter = dataclasses.replace(image, frames=image.frames + 1)
    later = dataclasses.replace(video, timestamps=tuple(t + 0.01 for t in video.timestamps))
    changes: list[dict[str, Any]] = [
        {"input_ids": base.input_ids + (np.arange(len(base)) == 3)},
        {"positions": base.positions + (np.arange(len(base)) == 3)},
        {"positions": base.positions[[0, 2, 1]]},
        {"span": base.span + 1},
        {"visuals": (brighter, video)},
        {"visuals": (image, later)},
        {"visuals": (video, image)},
        {"visuals": (image,), "kept": base.kept[:1]},
        {"kept": (base.kept[0][:3], base.kept[1])},
        {"kept": base.kept[::-1]},
        {"visual_rows": base.visual_rows[::-1]},
    ]
    digests = {dataclasses.replace(base, **change).digest() for change in changes}
    assert len(digests | {base.digest()}) == len(changes) + 1
