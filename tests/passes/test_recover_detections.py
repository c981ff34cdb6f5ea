"""The loss of outputs that hold boxes beside scores is the damage that search measures."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from autocompress.evaluate import measure_damage
from autocompress.passes.recover.losses import output_loss

RNG = np.random.default_rng(7)
FOUND = RNG.random((8, 60)) < 0.05
BOXES = RNG.standard_normal((8, 60, 4)) * 3
SCORES = np.where(FOUND[..., None], [0.9, 0.8, 0.02], RNG.uniform(0.0001, 0.02, (8, 60, 3)))
OUTPUT = np.concatenate([BOXES, SCORES], -1).astype(np.float32)


class Recorded:
    """A session, and a reference, that gives stored outputs in order."""

    def __init__(self, values: np.ndarray) -> None:
        self.values = values

    def outputs(self, indices, names=None):
        return {"y": self.values[list(indices)]} if names is None or names else {}


def test_the_loss_is_the_damage(monkeypatch: pytest.MonkeyPatch) -> None:
    changed = OUTPUT + RNG.standard_normal(OUTPUT.shape).astype(np.float32) * np.float32(0.1)
    changed[..., 4:] = np.clip(OUTPUT[..., 4:] * 0.9, 0, 1)
    monkeypatch.setattr(
        "autocompress.evaluate.damage.run_batches",
        lambda session, source, indices, size: (([i], {"y": session.values[[i]]}) for i in indices),
    )
    damage = measure_damage(Recorded(changed), None, range(8), Recorded(OUTPUT))
    loss = output_loss(torch.tensor(OUTPUT), "auto", 2.0, 0.5)
    assert loss.kind == "detections"
    assert float(loss(torch.tensor(changed), torch.tensor(OUTPUT))) == pytest.approx(0.5 * damage.value, rel=1e-4)
    assert 0.0 < damage.value < 0.5
    assert float(loss(torch.tensor(OUTPUT), torch.tensor(OUTPUT))) == 0.0


def test_descent_on_the_loss_finds_the_objects_again() -> None:
    loss = output_loss(torch.tensor(OUTPUT), "auto", 2.0, 1.0)
    logits = torch.zeros(8, 60, 3, requires_grad=True)
    optimizer = torch.optim.Adam([logits], 0.3)
    for _ in range(60):
        optimizer.zero_grad()
        student = torch.cat([torch.tensor(BOXES, dtype=torch.float32), torch.sigmoid(logits)], -1)
        loss(student, torch.tensor(OUTPUT)).backward()
        optimizer.step()
    found = torch.sigmoid(logits[..., 0]) * torch.sigmoid(logits[..., 1])
    assert float(found.detach()[torch.tensor(FOUND)].min()) > 0.5
    assert float(found.detach()[torch.tensor(~FOUND)].max()) < 0.1


@pytest.mark.parametrize(("choice", "kind"), [("mse", "mse"), ("auto", "detections")])
def test_a_choice_of_the_user_counts(choice: str, kind: str) -> None:
    assert output_loss(torch.tensor(OUTPUT), choice, 2.0, 1.0).kind == kind


def test_classifiers_embeddings_and_images_are_compared_as_before() -> None:
    generator = torch.Generator().manual_seed(0)
    assert output_loss(20 * torch.randn(16, 10, generator=generator), "auto", 2.0, 1.0).kind == "kl"
    assert output_loss(torch.randn(16, 384, generator=generator) / 20, "auto", 2.0, 1.0).kind == "mse"
    assert output_loss(torch.rand(4, 3, 16, 16, generator=generator), "auto", 2.0, 1.0).kind == "mse"
