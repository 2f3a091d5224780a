"""A profile as the TOML file that ``Profile.from_toml`` reads."""

from __future__ import annotations

import dataclasses
import json
import re
from typing import Any

from minireranker.configs import Profile


def file_name(profile: Profile) -> str:
    """Of its file in a checkpoint's ``profiles/``: the name it is then asked for by, and .toml."""
    return re.sub(r"[^\w.-]+", "-", profile.name).strip(".-").removesuffix(".toml") + ".toml"


def profile_toml(profile: Profile) -> str:
    """All its values; those of a model that are not known are left out."""
    fields = dataclasses.asdict(profile)
    sections = {name: fields.pop(name) for name in ("template", "limits")}
    del fields["name"]
    lines = [f"{name} = {_value(value)}" for name, value in fields.items() if value is not None]
    for name, section in sections.items():
        lines += ["", f"[{name}]", *(f"{key} = {_value(value)}" for key, value in section.items())]
    return "\n".join(lines) + "\n"


def _value(value: Any) -> str:
    if isinstance(value, str):
        # JSON's strings are TOML's, but for DEL, which TOML wants escaped too.
        return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
    return json.dumps(list(value)) if isinstance(value, tuple) else repr(value)
