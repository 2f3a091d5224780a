"""The forms a step may train: every combination of the three reductions a user may switch on."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from random import Random

from minireranker.configs import Profile

from .geometry import DENSE, LAYERS, MINI


@dataclass(frozen=True)
class Form:
    """A profile, and how often a step takes it."""

    profile: Profile
    share: float


FORMS = (
    Form(MINI, 0.6),
    Form(DENSE, 0.2),
    Form(dataclasses.replace(DENSE, name="exit", exit_layer=8, band=(0, 8)), 0.07),
    Form(dataclasses.replace(DENSE, name="band", band=(4, LAYERS)), 0.07),
    Form(dataclasses.replace(DENSE, name="keep", keep_ratio=0.5), 0.06),
)


def form_of(step: int, seed: int) -> Profile:
    """The profile of a step."""
    random = Random(f"form/{seed}/{step}")
    (form,) = random.choices(FORMS, [form.share for form in FORMS])
    return form.profile
