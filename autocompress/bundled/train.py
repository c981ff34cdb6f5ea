"""Makes the bundled files again: ``python -m autocompress.bundled.train [FOLDER]`` (needs autocompress[torch]).

Trains on the digits that are not held out, writes ``digits_resnet.onnx``, ``digits.npz`` and ``preprocess.yaml``, and
prints what ONNX Runtime makes of the written file on the held-out part as one JSON document.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from autocompress.bundled import FOLDER
from autocompress.bundled.digits import BIAS, SCALE, Part, split_digits
from autocompress.files import replacing, write_bytes, write_text

if TYPE_CHECKING:
    from torch import Tensor

    from autocompress.bundled.network import DigitsResNet

SEED = 0
EPOCHS = 50
BATCH = 50
LEARNING_RATE = 2e-3
WEIGHT_DECAY = 0.05
LABEL_SMOOTHING = 0.05
TURN_DEGREES = 12.0
SHIFT_FRACTION = 0.12
ZOOM_FRACTION = 0.12


def train(part: Part, seed: int, epochs: int, progress: Callable[[str], None]) -> DigitsResNet:
    """The network after ``epochs`` of AdamW with a one-cycle learning rate on randomly turned and moved images."""
    import torch
    from torch.nn.functional import cross_entropy

    from autocompress.bundled.network import DigitsResNet

    torch.manual_seed(seed)
    torch.use_deterministic_algorithms(True)
    image = torch.from_numpy(part.image).float() * SCALE + BIAS
    labels = torch.from_numpy(part.labels)
    network = DigitsResNet()
    network.to(memory_format=torch.channels_last)
    optimizer = torch.optim.AdamW(network.parameters(), LEARNING_RATE, weight_decay=WEIGHT_DECAY)
    steps = -(-len(labels) // BATCH)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, LEARNING_RATE, epochs=epochs, steps_per_epoch=steps)
    network.train()
    for epoch in range(epochs):
        total = 0.0
        for batch in torch.randperm(len(labels)).split(BATCH):
            logits = network(_distort(image[batch]).to(memory_format=torch.channels_last))
            loss = cross_entropy(logits, labels[batch], label_smoothing=LABEL_SMOOTHING)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
            total += loss.item() * len(batch)
        progress(f"epoch {epoch + 1}/{epochs}: loss {total / len(labels):.4f}")
    network.eval()
    return network


def _distort(image: Tensor) -> Tensor:
    """Each image turned, zoomed and moved a little at random, bilinearly; what comes in from outside is background."""
    import torch
    from torch.nn.functional import affine_grid, grid_sample

    n = len(image)
    turn = (torch.rand(n) * 2 - 1) * TURN_DEGREES * torch.pi / 180
    zoom = 1 + (torch.rand(n, 2) * 2 - 1) * ZOOM_FRACTION
    shift = (torch.rand(n, 2) * 2 - 1) * SHIFT_FRACTION * 2  # grid_sample's coordinates span 2 units
    cos, sin = torch.cos(turn), torch.sin(turn)
    rows = [torch.stack([cos, -sin, shift[:, 0]], 1), torch.stack([sin, cos, shift[:, 1]], 1)]
    theta = torch.stack(rows, 1) * torch.cat([zoom, torch.ones(n, 1)], 1)[:, None, :]
    grid = affine_grid(theta, list(image.shape), align_corners=False)
    # Padding is zero, which BIAS makes mid-grey: sample with the background at zero.
    return grid_sample(image - BIAS, grid, align_corners=False) + BIAS


def score(model: bytes, part: Part) -> float:
    """Top-1 of a serialized model on a part of the digits, through ONNX Runtime; a fraction."""
    import onnxruntime as ort

    session = ort.InferenceSession(model, providers=["CPUExecutionProvider"])
    feeds = {"image": part.image.astype(np.float32) * np.float32(SCALE) + np.float32(BIAS)}
    logits = session.run(["logits"], feeds)[0]
    return float((logits.argmax(1) == part.labels).mean())


def write(folder: Path, model: bytes, held_out: Part) -> None:
    """Writes the three files, each at once and whole."""
    folder.mkdir(parents=True, exist_ok=True)
    write_bytes(folder / "digits_resnet.onnx", model)
    with replacing(folder / "digits.npz") as file:
        np.savez_compressed(file, image=held_out.image, labels=held_out.labels)
    text = f"# image (uint8) * scale + bias is what the network takes: -1 to 1.\nscale: [{SCALE!r}]\nbias: [{BIAS!r}]\n"
    write_text(folder / "preprocess.yaml", text)


def main(arguments: list[str] | None = None) -> None:
    """Trains, writes, scores and prints."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", nargs="?", type=Path, default=FOLDER, help="where to write (default: the package)")
    parser.add_argument("--seed", type=int, default=SEED)
    parser.add_argument("--epochs", type=int, default=EPOCHS)
    options = parser.parse_args(arguments)

    from autocompress.bundled.export import to_onnx

    started = time.perf_counter()
    training, held_out = split_digits(options.seed)
    network = train(training, options.seed, options.epochs, lambda line: print(line, file=sys.stderr, flush=True))
    model = to_onnx(network).SerializeToString()
    write(options.folder, model, held_out)
    result = {
        "seed": options.seed,
        "epochs": options.epochs,
        "training_samples": len(training.labels),
        "held_out_samples": len(held_out.labels),
        "training_top1": score(model, training),
        "held_out_top1": score(model, held_out),
        "size_bytes": len(model),
        "seconds": round(time.perf_counter() - started, 1),
    }
    print(json.dumps(result, indent=2))


if __name__ == "__main__":
    main()
