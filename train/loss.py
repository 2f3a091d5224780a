"""How far scores are from judgements, and from a teacher's scores.

Point-wise: a score is the log odds of "yes" against "no" (method, section 2), so cross-entropy on
the two answers is that of a sigmoid. The entropy of the wanted probability is taken off, which
changes no gradient: what is left is the divergence from it, 0 where a graded label is met.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def judgement_loss(scores: Tensor, labels: Tensor) -> Tensor:
    """KL divergence of sigmoid(score) from each label, float32 [pairs]. Labels are 0 to 1."""
    labels = labels.to(scores.dtype)
    entropy = -(torch.xlogy(labels, labels) + torch.xlogy(1 - labels, 1 - labels))
    return F.binary_cross_entropy_with_logits(scores, labels, reduction="none") - entropy


def teacher_loss(scores: Tensor, teacher: Tensor, temperature: float) -> Tensor:
    """KL divergence from a teacher's probabilities, both at a temperature, [pairs].

    Times the temperature squared, so that its gradient does not shrink with it (Hinton et al.,
    arXiv 1503.02531, section 2).
    """
    wanted = torch.sigmoid(teacher / temperature)
    return judgement_loss(scores / temperature, wanted) * temperature**2


def pair_losses(
    scores: Tensor, labels: Tensor, teacher: Tensor | None, *, distill: float, temperature: float
) -> Tensor:
    """Each pair's loss: of its judgement, and ``distill`` of it of the teacher's score instead.

    A pair the teacher has no (finite) score for has its judgement only.
    """
    losses = judgement_loss(scores, labels)
    if teacher is None:
        return losses
    known = torch.isfinite(teacher)
    learned = teacher_loss(scores, torch.where(known, teacher, 0.0), temperature)
    return torch.where(known, (1 - distill) * losses + distill * learned, losses)
