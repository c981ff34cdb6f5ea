"""New unlabelled images from given ones: mirrored, shifted, mixed.  The teacher answers for what comes out.

Mixing two images (Zhang et al., mixup, arXiv 1710.09412) and matching the teacher on the mixture needs no labels; with
few samples it is what keeps the student from learning the samples by heart (Beyer et al., arXiv 2106.05237).
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from autocompress.graph.torch_execution.weights import Array

_SHIFT = 0.125  # of the size of the image


def augmented(feeds: Mapping[str, Array], seed: tuple[int, ...]) -> dict[str, Array]:
    """The batch with its only image input changed; other batches as they are.

    Args:
        feeds: inputs by name.
        seed: the same seed gives the same images.
    """
    if len(feeds) != 1:
        return dict(feeds)
    name, images = next(iter(feeds.items()))
    if images.ndim != 4 or images.dtype.kind != "f" or images.shape[1] not in (1, 3):
        return dict(feeds)
    generator = np.random.default_rng(seed)
    images = _mirrored(_shifted(images, generator), generator)
    return {name: _mixed(images, generator)}


def _mirrored(images: Array, generator: np.random.Generator) -> Array:
    chosen = generator.random(len(images)) < 0.5
    return np.where(chosen[:, None, None, None], images[..., ::-1], images)


def _shifted(images: Array, generator: np.random.Generator) -> Array:
    """Each image moved by up to an eighth of its size; what comes in repeats the edge."""
    height, width = images.shape[2:]
    moves = generator.integers(-_bound(height), _bound(height) + 1, len(images))
    rows = np.clip(np.arange(height) + moves[:, None], 0, height - 1)
    moves = generator.integers(-_bound(width), _bound(width) + 1, len(images))
    columns = np.clip(np.arange(width) + moves[:, None], 0, width - 1)
    samples = np.arange(len(images))[:, None, None]
    # Advanced indices around a slice put their axes first.
    picked: Array = images[samples, :, rows[:, :, None], columns[:, None, :]]
    return np.moveaxis(picked, -1, 1)


def _bound(size: int) -> int:
    return round(size * _SHIFT)


def _mixed(images: Array, generator: np.random.Generator) -> Array:
    """Half of the batches are mixed with themselves in another order."""
    if generator.random() < 0.5:
        return np.ascontiguousarray(images)
    share = generator.beta(1.0, 1.0, (len(images), 1, 1, 1)).astype(images.dtype)
    mixed: Array = share * images + (1 - share) * images[generator.permutation(len(images))]
    return mixed
