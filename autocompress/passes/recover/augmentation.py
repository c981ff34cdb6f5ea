"""New unlabelled images from given ones: mirrored, shifted, mixed.  The teacher answers for what comes out.

With few samples this is what keeps the student from learning the samples by heart (Beyer et al., "A good teacher is
patient and consistent", arXiv 2106.05237).  Matching the teacher needs no labels, so images may be blended (Zhang et
al., mixup, arXiv 1710.09412) or cut into each other (Yun et al., CutMix, arXiv 1905.04899) freely.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from autocompress.graph.torch_execution.weights import Array

_SHIFT = 0.125  # of the size of the image


def augmented(
    feeds: Mapping[str, Array], seed: tuple[int, ...], *, to_maps: bool = False, mix: bool = True
) -> dict[str, Array]:
    """The batch with its only image input changed; other batches as they are.

    Args:
        feeds: inputs by name.
        seed: the same seed gives the same images.
        to_maps: whether the model makes images of images.  What counts there are small neighbourhoods, whose statistics
            (noise, say) blending would change; but any side may be up.
        mix: whether images may be mixed with each other.
    """
    if len(feeds) != 1:
        return dict(feeds)
    name, images = next(iter(feeds.items()))
    if images.ndim != 4 or images.dtype.kind != "f" or images.shape[1] not in (1, 3):
        return dict(feeds)
    generator = np.random.default_rng(seed)
    images = _mirrored(_shifted(images, generator), generator, -1)
    if to_maps:
        images = _transposed(_mirrored(images, generator, -2), generator)
    if mix:
        images = _mixed(images, generator, blend=not to_maps)
    return {name: np.ascontiguousarray(images)}


def _mirrored(images: Array, generator: np.random.Generator, axis: int) -> Array:
    chosen = generator.random(len(images)) < 0.5
    return np.where(chosen[:, None, None, None], np.flip(images, axis), images)


def _transposed(images: Array, generator: np.random.Generator) -> Array:
    """Half of the images with rows for columns, where they are square."""
    chosen = generator.random(len(images)) < 0.5
    if images.shape[2] != images.shape[3]:
        return images
    return np.where(chosen[:, None, None, None], images.swapaxes(2, 3), images)


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


def _mixed(images: Array, generator: np.random.Generator, *, blend: bool) -> Array:
    """A third of the batches are blended with themselves in another order, a third are cut into each other."""
    way, share = generator.integers(3), generator.beta(1.0, 1.0, (len(images), 1, 1, 1)).astype(images.dtype)
    others = images[generator.permutation(len(images))]
    if way == 0:
        return images
    if way == 1 and blend:
        mixed: Array = share * images + (1 - share) * others
        return mixed
    return np.where(_rectangles(images.shape, generator), others, images)


def _rectangles(shape: tuple[int, ...], generator: np.random.Generator) -> Array:
    """True inside a rectangle of random area and place, another one for each image; of shape (n, 1, height, width)."""
    side = np.sqrt(generator.random(shape[0]))
    inside = []
    for size in shape[2:]:
        center = generator.random(shape[0]) * size
        place = np.arange(size) + 0.5
        inside.append(np.abs(place - center[:, None]) < 0.5 * side[:, None] * size)
    return (inside[0][:, :, None] & inside[1][:, None, :])[:, None]
