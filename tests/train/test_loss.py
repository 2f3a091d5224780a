"""Losses are 0 where a label or a teacher is met; the rate rises and falls."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from minireranker import Limits, Profile, Template
from minireranker.errors import ConfigurationError, NonFiniteScoreError
from minireranker.train.loss import judgement_loss, pair_losses, teacher_loss
from minireranker.train.optimizer import Optimizer, rate_at
from minireranker.train.profile_file import file_name, profile_toml
from minireranker.train.settings import Lora, TrainSettings

SETTINGS = TrainSettings("model", ("data",), "out")


def test_a_met_label_costs_nothing() -> None:
    labels = torch.tensor([0.0, 1.0, 0.5, 0.2])
    scores = torch.tensor([-40.0, 40.0, 0.0, math.log(0.2 / 0.8)], requires_grad=True)
    losses = judgement_loss(scores, labels)
    torch.testing.assert_close(losses, torch.zeros(4), atol=1e-6, rtol=0)
    (grad,) = torch.autograd.grad(judgement_loss(scores + 1, labels).sum(), scores)
    torch.testing.assert_close(grad, torch.sigmoid(scores + 1) - labels)
    assert float(judgement_loss(torch.zeros(1), torch.ones(1))) == pytest.approx(math.log(2))


def test_a_teacher_is_met_at_its_own_scores() -> None:
    scores = torch.tensor([3.0, -50.0, 0.5])
    torch.testing.assert_close(teacher_loss(scores, scores, 2.0), torch.zeros(3))
    # At a high temperature it is an eighth of the squared difference.
    far = teacher_loss(scores.double(), scores.double() + 1, 1000.0)
    torch.testing.assert_close(far, torch.full_like(far, 1 / 8), rtol=1e-3, atol=0)


def test_a_pair_without_a_teacher_has_its_label() -> None:
    scores, labels = torch.tensor([1.0, 1.0, 1.0], requires_grad=True), torch.zeros(3)
    teacher = torch.tensor([2.0, math.inf, math.nan])
    mixed = pair_losses(scores, labels, teacher, distill=0.25, temperature=2.0)
    plain = judgement_loss(scores, labels)
    torch.testing.assert_close(mixed[1:], plain[1:])
    taught = teacher_loss(scores, torch.full((3,), 2.0), 2.0)
    torch.testing.assert_close(mixed[0], 0.75 * plain[0] + 0.25 * taught[0])
    (grad,) = torch.autograd.grad(mixed.sum(), scores)
    assert torch.isfinite(grad).all()


def test_the_rate_rises_and_falls() -> None:
    rates = [rate_at(step, 100, replace(SETTINGS, warmup=0.1)) for step in range(100)]
    assert rates[:10] == pytest.approx([1e-4 * (step + 1) / 10 for step in range(10)])
    assert rates[10] == 1e-4
    assert rates[55] == pytest.approx(0.5e-4)
    assert 0 < rates[99] < 1e-7
    assert rates[10:] == sorted(rates[10:], reverse=True)
    assert rate_at(0, 1, SETTINGS) == 1e-4


def test_a_step_is_by_the_mean_and_clipped() -> None:
    master = torch.zeros(2, requires_grad=True)
    optimizer = Optimizer({"x": master}, SETTINGS)
    master.grad = torch.tensor([30.0, 40.0])
    assert optimizer.step(5, 0.1) == pytest.approx(10.0)
    torch.testing.assert_close(master.detach(), torch.tensor([-0.1, -0.1]))
    before = master.detach().clone()
    assert optimizer.step(0, 0.1) == 0.0
    master.grad = torch.tensor([math.inf, 1.0])
    with pytest.raises(NonFiniteScoreError, match="smaller learning rate"):
        optimizer.step(1, 0.1)
    torch.testing.assert_close(master.detach(), before)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("method", "adapter"),
        ("learning_rate", 0.0),
        ("learning_rate", math.nan),
        ("epochs", 0),
        ("epochs", True),
        ("distill", 1.5),
        ("max_steps", 0),
        ("dtype", "float16"),
        ("out_dtype", "int8"),
        ("seed", -1),
        ("seed", 0.5),
        ("features_bytes", 0.5),
    ],
)
def test_settings_that_cannot_be(field: str, value: object) -> None:
    with pytest.raises(ConfigurationError, match=f"{field} = {value!r}"):
        replace(SETTINGS, **{field: value})


def test_settings_that_do_not_go_together() -> None:
    with pytest.raises(ConfigurationError, match="vision"):
        replace(SETTINGS, vision=True)
    with pytest.raises(ConfigurationError, match="targets"):
        replace(SETTINGS, lora=Lora(targets=("q_proj", "lm_head")))
    with pytest.raises(ConfigurationError, match="no data"):
        replace(SETTINGS, data=())


def test_a_profile_comes_back_from_its_file(tmp_path: Path) -> None:
    template = Template(instruct_label='"\\ \t\x7fä😀', first_end="x\n")
    profile = Profile("own", 4, (1, 3), 0.25, 7, 64, template, Limits(max_tokens=4096))
    path = tmp_path / file_name(profile)
    path.write_text(profile_toml(profile), encoding="utf-8")
    assert Profile.from_toml(path) == profile
    assert file_name(replace(profile, name="my profile/2")) == "my-profile-2.toml"
