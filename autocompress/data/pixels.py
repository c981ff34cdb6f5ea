"""Resizing and cropping of images."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from autocompress.data.preprocess import Size
from autocompress.errors import DataError

_PILLOW_FILTERS = {"nearest": 0, "lanczos": 1, "bilinear": 2, "bicubic": 3, "area": 4}
_PILLOW_CHANNELS = (1, 3)


def resized_size(size: Size, resize: int | Size | None) -> Size:
    """(height, width) after resizing; an int is the length of the short side, the ratio is kept (rounded down)."""
    if resize is None:
        return size
    if not isinstance(resize, int):
        return resize
    height, width = size
    short = min(height, width)
    return (resize * height // short, resize * width // short)


def resize_image(image: npt.NDArray[Any], size: Size, interpolation: str) -> npt.NDArray[Any]:
    """One image of shape (height, width, channels), uint8 or float, at another size (antialiased, as Pillow does)."""
    from PIL import Image

    if image.shape[:2] == size:
        return image
    resample = Image.Resampling(_PILLOW_FILTERS[interpolation])
    if image.dtype == np.uint8 and image.shape[2] in _PILLOW_CHANNELS:
        picture = Image.fromarray(image[:, :, 0] if image.shape[2] == 1 else np.ascontiguousarray(image))
        return np.asarray(picture.resize(size[::-1], resample)).reshape(*size, image.shape[2])
    planes = [Image.fromarray(image[:, :, c].astype(np.float32)) for c in range(image.shape[2])]
    resized = np.stack([np.asarray(plane.resize(size[::-1], resample)) for plane in planes], axis=2)
    if image.dtype == np.uint8:
        resized = np.clip(np.rint(resized), 0, 255)
    return resized.astype(image.dtype)


def crop_slices(size: Size, crop: Size, what: str) -> tuple[slice, slice]:
    """Rows and columns of the centre crop.

    Raises:
        DataError: when the image is smaller than the crop.
    """
    if crop[0] > size[0] or crop[1] > size[1]:
        raise DataError(f"{what} is {size[0]}x{size[1]}, too small for a crop of {crop[0]}x{crop[1]}: resize it first.")
    top, left = (round((have - want) / 2) for have, want in zip(size, crop, strict=True))
    return slice(top, top + crop[0]), slice(left, left + crop[1])
