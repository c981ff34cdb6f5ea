"""How stored images become what the model takes, as data: the content of preprocess.yaml.

    scale: [0.01712, 0.01751, 0.01743]    # x * scale + bias, per channel of the model or one number for all
    bias: [-2.118, -2.036, -1.804]
    # or:  divide: 255, mean: [0.485, 0.456, 0.406], std: [0.229, 0.224, 0.225]     (x / divide - mean) / std
    layout: NHWC                # of the stored arrays; found from the shapes when left out
    color: BGR                  # what the model takes (default RGB)
    data_color: RGB             # what the stored arrays hold (default: as the model takes; image files are RGB)
    resize: 256                 # short side, or [height, width]
    interpolation: bilinear     # or nearest, bicubic, lanczos, area
    crop: 224                   # from the centre; or [height, width]
    classes: [cat, dog]         # image folders only: folder names in the order of the model's outputs
    left_image: {scale: 1/255}  # a section under a model input's name holds for this input only

It is applied to uint8 arrays and image files; a section under an input's name also to arrays of other dtypes.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from autocompress.errors import DataError

Size = tuple[int, int]

INTERPOLATIONS = ("nearest", "bilinear", "bicubic", "lanczos", "area")
_IMAGE_KEYS = frozenset(
    ("scale", "bias", "divide", "mean", "std", "layout", "color", "data_color", "resize", "interpolation", "crop")
)


@dataclass(frozen=True)
class ImagePreprocess:
    """What is done to one image input, in this order: resize, crop, colour order, x * scale + bias, layout.

    Attributes:
        scale: per channel of the model, or one number for all.
        bias: likewise, added after scaling.
        layout: "NCHW" or "NHWC" of the stored arrays, None to find it from the shapes.
        color: "RGB" or "BGR", what the model takes.
        data_color: what the stored arrays hold; None means as the model takes (image files are always RGB).
        resize: the short side's length, or (height, width); None leaves the size.
        interpolation: one of ``INTERPOLATIONS``.
        crop: (height, width) cut from the centre after resizing; None leaves the size.
    """

    scale: tuple[float, ...] = (1.0,)
    bias: tuple[float, ...] = (0.0,)
    layout: str | None = None
    color: str = "RGB"
    data_color: str | None = None
    resize: int | Size | None = None
    interpolation: str = "bilinear"
    crop: Size | None = None

    @property
    def changes_values(self) -> bool:
        """Whether scale or bias do anything."""
        return any(s != 1.0 for s in self.scale) or any(b != 0.0 for b in self.bias)


@dataclass(frozen=True)
class Preprocess:
    """The whole of preprocess.yaml.

    Attributes:
        images: what holds for every image input, None when nothing is said.
        inputs: (model input, what holds for it alone), sorted by name.
        classes: names of class folders in the order of the model's outputs; empty for the default order.
    """

    images: ImagePreprocess | None = None
    inputs: tuple[tuple[str, ImagePreprocess], ...] = ()
    classes: tuple[str, ...] = ()

    def for_input(self, name: str) -> ImagePreprocess | None:
        """What was said for the model input ``name`` itself."""
        return dict(self.inputs).get(name)


def load_preprocess(path: str | Path) -> Preprocess:
    """Reads preprocess.yaml (or .json).

    Raises:
        DataError: when the file is missing, is no YAML mapping, or says something unknown or impossible.
    """
    import yaml

    try:
        content = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        raise DataError(f"The preprocessing file {path} could not be read: {error.strerror or error}.") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise DataError(f"The preprocessing file {path} is not YAML: {' '.join(str(error).split())}.") from error
    if not isinstance(content, Mapping):
        raise DataError(f"The preprocessing file {path} must hold keys such as 'scale' and 'layout'.")
    try:
        return parse_preprocess(content)
    except DataError as error:
        raise DataError(f"In {path}: {error}") from error


def parse_preprocess(content: Mapping[str, Any]) -> Preprocess:
    """Builds a ``Preprocess`` from the mapping described on top of this module.

    Raises:
        DataError: when a key is unknown or a value impossible.
    """
    everywhere: dict[str, Any] = {}
    inputs: dict[str, ImagePreprocess] = {}
    classes: tuple[str, ...] = ()
    for key, value in content.items():
        if key == "classes":
            classes = _class_names(value)
        elif key in _IMAGE_KEYS:
            everywhere[key] = value
        elif isinstance(value, Mapping):
            inputs[str(key)] = _parse_image(value, f"{key}.")
        else:
            raise DataError(f"'{key}' is no preprocessing key; known are {', '.join(sorted(_IMAGE_KEYS))}, classes.")
    images = _parse_image(everywhere, "") if everywhere else None
    return Preprocess(images, tuple(sorted(inputs.items())), classes)


def _parse_image(content: Mapping[str, Any], prefix: str) -> ImagePreprocess:
    unknown = sorted(set(content) - _IMAGE_KEYS)
    if unknown:
        raise DataError(f"'{prefix}{unknown[0]}' is no preprocessing key; known are {', '.join(sorted(_IMAGE_KEYS))}.")
    scale, bias = _scale_and_bias(content, prefix)
    interpolation = _choice(content, "interpolation", INTERPOLATIONS, prefix) or "bilinear"
    return ImagePreprocess(
        scale=scale,
        bias=bias,
        layout=_choice(content, "layout", ("NCHW", "NHWC"), prefix),
        color=_choice(content, "color", ("RGB", "BGR"), prefix) or "RGB",
        data_color=_choice(content, "data_color", ("RGB", "BGR"), prefix),
        resize=_resize(content.get("resize"), f"{prefix}resize"),
        interpolation=interpolation,
        crop=_crop(content.get("crop"), f"{prefix}crop"),
    )


def _scale_and_bias(content: Mapping[str, Any], prefix: str) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Scale and bias of either style; (x / divide - mean) / std is x * (1 / (divide std)) - mean / std."""
    normalizes = {"divide", "mean", "std"} & set(content)
    if not normalizes:
        scale = _numbers(content.get("scale", 1.0), f"{prefix}scale")
        return scale, _numbers(content.get("bias", 0.0), f"{prefix}bias")
    if {"scale", "bias"} & set(content):
        raise DataError(f"'{prefix}scale' or bias and {', '.join(sorted(normalizes))} are two ways to say one thing.")
    divide = _numbers(content.get("divide", 1.0), f"{prefix}divide")
    mean = _numbers(content.get("mean", 0.0), f"{prefix}mean")
    std = _numbers(content.get("std", 1.0), f"{prefix}std")
    if "divide" not in content and max(mean) <= 1.0 and max(std) <= 1.0:
        raise DataError(f"'{prefix}mean' and std look like shares of 1: add 'divide: 255' (or 'divide: 1' if not).")
    if not (all(divide) and all(std)):
        raise DataError(f"'{prefix}divide' and std must not be zero.")
    channels = max(len(divide), len(mean), len(std))
    divide, mean, std = (_spread(v, channels, prefix) for v in (divide, mean, std))
    scale = tuple(1.0 / (d * s) for d, s in zip(divide, std, strict=True))
    return scale, tuple(-m / s for m, s in zip(mean, std, strict=True))


def _spread(values: tuple[float, ...], channels: int, prefix: str) -> tuple[float, ...]:
    if len(values) not in (1, channels):
        raise DataError(f"'{prefix}mean', std and divide must have as many numbers as there are channels, or one.")
    return values * channels if len(values) == 1 else values


def _numbers(value: Any, key: str) -> tuple[float, ...]:
    listed = value if isinstance(value, list | tuple) else [value]
    numbers = tuple(_number(item, key) for item in listed)
    if not numbers:
        raise DataError(f"'{key}' is an empty list.")
    return numbers


def _number(value: Any, key: str) -> float:
    """A number, also written as a fraction such as 1/255 or with an exponent (YAML reads both as text)."""
    if not isinstance(value, bool):
        try:
            top, _, bottom = str(value).partition("/")
            number = float(top) / float(bottom or 1.0)
            if math.isfinite(number):
                return number
        except (ValueError, ZeroDivisionError):
            pass
    raise DataError(f"'{key}' must be a number or a list of numbers, not {value!r}.")


def _choice(content: Mapping[str, Any], key: str, choices: tuple[str, ...], prefix: str) -> str | None:
    if content.get(key) is None:
        return None
    for choice in choices:
        if str(content[key]).lower() == choice.lower():
            return choice
    raise DataError(f"'{prefix}{key}' must be one of {', '.join(choices)}, not {content[key]!r}.")


def _resize(value: Any, key: str) -> int | Size | None:
    return value if isinstance(value, int) and _is_length(value) else _crop(value, key)


def _crop(value: Any, key: str) -> Size | None:
    if value is None:
        return None
    if _is_length(value):
        return (value, value)
    if isinstance(value, list | tuple) and len(value) == 2 and all(map(_is_length, value)):
        return (value[0], value[1])
    raise DataError(f"'{key}' must be a positive whole number or [height, width], not {value!r}.")


def _is_length(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value > 0


def _class_names(value: Any) -> tuple[str, ...]:
    if not isinstance(value, list) or len({str(v) for v in value}) != len(value) or not value:
        raise DataError("'classes' must be a list of different folder names, in the order of the model's outputs.")
    return tuple(str(v) for v in value)
