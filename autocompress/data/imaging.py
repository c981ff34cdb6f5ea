"""Stored images to model input: resize, crop, colour order, x * scale + bias, layout.

Layouts are found from the shapes where preprocess.yaml leaves them out: of the ways to read the stored array and the
model's input as channels-first or channels-last, the first that fits is taken, those without a transposition first.
"""

from __future__ import annotations

from itertools import product
from typing import Any

import numpy as np
import numpy.typing as npt

from autocompress.data.fit import Dimensions, declared_text, model_dtype, shape_fits, shape_text
from autocompress.data.pixels import crop_slices, resize_image, resized_size
from autocompress.data.preprocess import ImagePreprocess
from autocompress.data.samples import Array, ModelInputLike
from autocompress.errors import DataError

_CHANNEL_COUNTS = (1, 3, 4)
_TO_LAST, _TO_FIRST = (0, 2, 3, 1), (0, 3, 1, 2)


class ImageTransform:
    """The whole way of one image input, with the layouts settled.

    Args:
        section: what is to be done.
        model_input: the model's input, of rank 4.
        stored_shape: (n, ...) of the stored array; None stands for a size that differs between images.
        stored_dtype: its dtype.
        label: what to call the stored array in errors.

    Attributes:
        notices: assumptions made.

    Raises:
        DataError: when no reading of the layouts fits, or the settings do not fit the channels.
    """

    def __init__(
        self,
        section: ImagePreprocess,
        model_input: ModelInputLike,
        stored_shape: Dimensions,
        stored_dtype: np.dtype[Any],
        label: str,
    ) -> None:
        self._section = section
        self._label = label
        self._dtype = model_dtype(model_input)
        self._flat = len(stored_shape) == 3  # (n, height, width): one channel, not written
        shape = (*stored_shape, 1) if self._flat else tuple(stored_shape)
        self.stored_layout, self.model_layout, self.shape = _settle_layouts(section, model_input, shape, label)
        channels = shape[1 if self.stored_layout == "NCHW" else 3]
        self._check_channels(channels)
        self._swaps_colors = section.data_color not in (None, section.color) and channels == 3
        if self._dtype.kind != "f" and section.changes_values:
            raise DataError(f"The model's input '{model_input.name}' takes {self._dtype}: scale and bias do not apply.")
        self.notices = self._find_notices(model_input, channels, section.layout is None and not self._flat)

    def __call__(self, stored: Array) -> Array:
        """Images of shape (b, ...) as stored to the model's input, float32 where the model takes floats."""
        images: npt.NDArray[Any] = stored[..., np.newaxis] if self._flat else stored
        channel_axis = 1 if self.stored_layout == "NCHW" else 3
        images = self._cropped(self._resized(images))
        if self._swaps_colors:
            images = np.flip(images, channel_axis)
        if self._dtype.kind == "f":
            images = _scaled(images, self._section, channel_axis)
        if self.stored_layout != self.model_layout:
            images = images.transpose(_TO_FIRST if self.model_layout == "NCHW" else _TO_LAST)
        return images

    def _resized(self, images: npt.NDArray[Any]) -> npt.NDArray[Any]:
        if self._section.resize is None:
            return images
        last = images if self.stored_layout == "NHWC" else images.transpose(_TO_LAST)
        size = resized_size((last.shape[1], last.shape[2]), self._section.resize)
        resized = np.stack([resize_image(image, size, self._section.interpolation) for image in last])
        return resized if self.stored_layout == "NHWC" else resized.transpose(_TO_FIRST)

    def _cropped(self, images: npt.NDArray[Any]) -> npt.NDArray[Any]:
        if self._section.crop is None:
            return images
        height_axis = 2 if self.stored_layout == "NCHW" else 1
        size = (images.shape[height_axis], images.shape[height_axis + 1])
        rows, columns = crop_slices(size, self._section.crop, self._label)
        return images[:, :, rows, columns] if self.stored_layout == "NCHW" else images[:, rows, columns]

    def _check_channels(self, channels: int | str | None) -> None:
        for name, values in (("scale", self._section.scale), ("bias", self._section.bias)):
            if len(values) not in (1, channels):
                raise DataError(f"'{name}' has {len(values)} numbers but {self._label} has {channels} channels.")

    def _find_notices(self, model_input: ModelInputLike, channels: Any, guessed: bool) -> tuple[str, ...]:
        notices = []
        if guessed and self.stored_layout != self.model_layout:
            notices.append(
                f"{self._label} looks like {self.stored_layout} and is transposed to the {self.model_layout} of "
                f"'{model_input.name}'; say 'layout: {self.stored_layout}' in preprocess.yaml to confirm."
            )
        if self._section.color == "BGR" and self._section.data_color is None and channels == 3:
            notices.append(f"{self._label} is taken to be BGR already; if it is RGB, say 'data_color: RGB'.")
        return tuple(notices)


def _settle_layouts(
    section: ImagePreprocess, model_input: ModelInputLike, stored: Dimensions, label: str
) -> tuple[str, str, Dimensions]:
    """(layout of the stored array, layout of the model's input, shape that comes out)."""
    declared = model_input.shape[1:]
    stored_layouts = (section.layout,) if section.layout else ("NCHW", "NHWC")
    pairs = sorted(product(stored_layouts, ("NCHW", "NHWC")), key=lambda pair: pair[0] != pair[1])
    # An axis of 1, 3 or 4 is a channel axis before any other is.
    pairs.sort(key=lambda pair: _channels(stored, pair[0]) not in _CHANNEL_COUNTS)
    shapes = [_outcome(stored, layouts, section, label) for layouts in pairs]
    for layouts, shape in zip(pairs, shapes, strict=True):
        if shape_fits(declared, shape[1:]):
            return (*layouts, shape)
    closest = min(
        shapes, key=lambda shape: sum(not shape_fits([w], [h]) for w, h in zip(declared, shape[1:], strict=True))
    )
    raise DataError(
        f"{label} gives images of shape {shape_text(('n', *closest[1:]))} after preprocessing, but the model's input "
        f"'{model_input.name}' takes {declared_text(model_input)}: set resize, crop or layout in preprocess.yaml."
    )


def _channels(shape: Dimensions, layout: str) -> int | str | None:
    return shape[1] if layout == "NCHW" else shape[3]


def _outcome(stored: Dimensions, layouts: tuple[str, str], section: ImagePreprocess, label: str) -> Dimensions:
    height, width = (stored[2], stored[3]) if layouts[0] == "NCHW" else (stored[1], stored[2])
    size: tuple[int | str | None, int | str | None] = (height, width)
    if isinstance(height, int) and isinstance(width, int):
        resized = size = resized_size((height, width), section.resize)
        if section.crop is not None:
            crop_slices(resized, section.crop, label)  # raises when it does not fit
    elif section.resize is not None:
        size = (None, None) if isinstance(section.resize, int) else section.resize
    size = section.crop or size
    channels = _channels(stored, layouts[0])
    return (stored[0], channels, *size) if layouts[1] == "NCHW" else (stored[0], *size, channels)


def _scaled(images: npt.NDArray[Any], section: ImagePreprocess, channel_axis: int) -> npt.NDArray[Any]:
    values = images.astype(np.float32)
    if section.changes_values:
        shape = [1, 1, 1, 1]
        shape[channel_axis] = -1
        values *= np.array(section.scale, np.float32).reshape(shape)
        values += np.array(section.bias, np.float32).reshape(shape)
    return values
