"""A checkpoint's own chat template, as the text around an instruction and a user's content."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, NamedTuple

from minireranker.errors import CheckpointError

_INSTRUCTION, _CONTENT = "\ue000", " \ue001 "
"""From the private-use area: no template contains them. A template that trims content shows."""


class ChatFrame(NamedTuple):
    """What a template writes around a system message and one user message."""

    head: str
    """Before the instruction."""
    between: str
    """From the instruction to the content."""
    tail: str
    """After the content, up to where the answer would begin."""


PUBLISHED = ChatFrame(
    "<|im_start|>system\n",
    "<|im_end|>\n<|im_start|>user\n",
    "<|im_end|>\n<|im_start|>assistant\n",
)
"""What the published Qwen3-VL template writes; for a checkpoint that brings none."""


def read_chat_frame(directory: Path) -> ChatFrame:
    """Render the template of a checkpoint directory; its own, wherever it is kept.

    Raises CheckpointError for a template that cannot be read or rendered, or that loses a message.
    """
    template, source = _template(directory)
    if template is None:
        return PUBLISHED
    from jinja2 import TemplateError
    from jinja2.sandbox import ImmutableSandboxedEnvironment

    messages = [
        {"role": role, "content": [{"type": "text", "text": text}]}
        for role, text in (("system", _INSTRUCTION), ("user", _CONTENT))
    ]
    # These settings, and this extension, are what transformers renders chat templates with.
    environment = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=["jinja2.ext.loopcontrols"]
    )
    try:
        rendered = environment.from_string(template).render(
            messages=messages, add_generation_prompt=True, **_special_tokens(directory)
        )
        head, rest = rendered.split(_INSTRUCTION)
        between, tail = rest.split(_CONTENT)
    except (TemplateError, ValueError, TypeError) as error:
        raise CheckpointError(
            f"{source} does not write a system and a user message once each, as they are "
            f"({error}); take the template of a Qwen3-VL checkpoint"
        ) from error
    return ChatFrame(head, between, tail)


def _special_tokens(directory: Path) -> dict[str, str]:
    """What templates may name: ``bos_token``, ``eos_token`` and the like."""
    path = directory / "tokenizer_config.json"
    values = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    named = {name: value for name, value in values.items() if name.endswith("_token")}
    texts = {n: v["content"] if isinstance(v, dict) else v for n, v in named.items()}
    return {name: text for name, text in texts.items() if isinstance(text, str)}


def _template(directory: Path) -> tuple[str | None, Path]:
    plain = directory / "chat_template.jinja"
    try:
        if plain.is_file():
            return plain.read_text(encoding="utf-8"), plain
        for name in ("chat_template.json", "tokenizer_config.json"):
            path = directory / name
            found = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
            if template := _named_default(found.get("chat_template")):
                return template, path
    except (OSError, ValueError, LookupError, TypeError, AttributeError) as error:
        raise CheckpointError(
            f"{directory}: its chat template is damaged ({error}); download it again"
        ) from error
    return None, directory


def _named_default(value: Any) -> str | None:
    """A template, or of several named ones the default. Raises LookupError if there is none."""
    if isinstance(value, list):
        value = {item["name"]: item["template"] for item in value}
    if isinstance(value, dict):
        value = value["default"]
    if not isinstance(value, str | None):
        raise TypeError(f"it is {type(value).__name__}")
    return value
