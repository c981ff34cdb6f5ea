"""scikit-learn's handwritten digits as 32x32 images, split into a part to train on and a part never trained on."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

IMAGE_SIZE = 32
CLASSES = 10
HELD_OUT_SAMPLES = 800
SCALE = 1 / 127.5
BIAS = -1.0
_LARGEST_SOURCE_VALUE = 16.0


@dataclass(frozen=True)
class Part:
    """Some of the digits.

    Attributes:
        image: uint8 of shape (n, 1, 32, 32).
        labels: int64 of shape (n,).
        index: int64 of shape (n,), positions in scikit-learn's ``load_digits``.
    """

    image: npt.NDArray[np.uint8]
    labels: npt.NDArray[np.int64]
    index: npt.NDArray[np.int64]


def split_digits(seed: int) -> tuple[Part, Part]:
    """The digits as (training part, held-out part of ``HELD_OUT_SAMPLES``), every class at its share in both."""
    from sklearn.datasets import load_digits
    from sklearn.model_selection import train_test_split

    digits = load_digits()
    image, labels = enlarge(digits.images), digits.target.astype(np.int64)
    train, held_out = train_test_split(
        np.arange(len(labels)), test_size=HELD_OUT_SAMPLES, random_state=seed, stratify=labels
    )
    return tuple(Part(image[index], labels[index], index) for index in (train, held_out))  # type: ignore[return-value]


def enlarge(images: npt.NDArray[Any]) -> npt.NDArray[np.uint8]:
    """Images of shape (n, 8, 8) with values 0 to 16, as uint8 of shape (n, 1, 32, 32), bilinearly enlarged."""
    from PIL import Image

    grey = np.rint(images * (255 / _LARGEST_SOURCE_VALUE)).astype(np.uint8)
    size = (IMAGE_SIZE, IMAGE_SIZE)
    return np.stack([np.asarray(Image.fromarray(one).resize(size, Image.Resampling.BILINEAR)) for one in grey])[:, None]
