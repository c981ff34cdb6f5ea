"""Puts a linear interpolation before the first layers of a network."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from onnx import ModelProto, helper, numpy_helper

from autocompress.errors import RecipeError
from autocompress.graph.inference import declared_shapes, drop_annotations, infer_shapes
from autocompress.graph.model import copy_model
from autocompress.graph.rewrite import free_name, tensor_names
from autocompress.graph.specs import Size
from autocompress.graph.walk import rename_reads
from autocompress.passes.downsample.config import DownsampleConfig
from autocompress.passes.downsample.fitting import misfit
from autocompress.passes.downsample.image import Image, image_among
from autocompress.passes.downsample.pooling import make_global


@dataclass(frozen=True)
class DownsamplePayload:
    """The step learns nothing."""


def downsample(model: ModelProto, config: DownsampleConfig) -> ModelProto:
    """A copy whose layers see a smaller image; inputs, outputs and their sizes stay.

    Args:
        model: normalized and folded.
        config: the size.

    Raises:
        RecipeError: when there is no image, it is not larger than that, or an output would change its size.
    """
    shapes = declared_shapes(infer_shapes(model))
    found = image_among(model, shapes)
    if isinstance(found, str):
        raise RecipeError(f"downsample step: {found}; leave the step out")
    full = _full_size(found, config)
    if config.height > full[0] or config.width > full[1]:
        raise RecipeError(
            f"downsample step: the image {found.name!r} has {full[0]} x {full[1]} pixels, fewer than "
            f"{config.height} x {config.width}; give a smaller size"
        )
    smaller = copy_model(model)
    drop_annotations(smaller)
    make_global(smaller, shapes)
    factors = [_factor(*sides) for sides in zip(full, (config.height, config.width), strict=True)]
    _insert(smaller, found.name, factors)
    _check_outputs(smaller, shapes)
    return smaller


def _full_size(image: Image, config: DownsampleConfig) -> tuple[int, int]:
    """Height and width of what comes in: as the model declares them, else as the configuration says."""
    height, width = image.height or config.full_height, image.width or config.full_width
    if not height or not width:
        raise RecipeError(
            f"downsample step: the size of its image ({image.name!r}) is not fixed; give full_height and full_width"
        )
    return height, width


def _insert(model: ModelProto, image: str, factors: list[float]) -> None:
    """The interpolation, right behind what computes the image; every reader of the image reads the smaller one."""
    taken = tensor_names(model)
    result = free_name(f"{image}_downsampled", taken)
    scales = free_name(f"{image}_downsample_scales", taken)
    model.graph.initializer.append(numpy_helper.from_array(np.array([1.0, 1.0, *factors], np.float32), scales))
    rename_reads(model.graph.node, {image: result})
    name = free_name(f"downsample_{image}", {node.name for node in model.graph.node})
    resize = helper.make_node(
        "Resize",
        [image, "", scales],
        [result],
        name=name,
        mode="linear",
        coordinate_transformation_mode="half_pixel",
    )
    model.graph.node.insert(_place(model, image), resize)


def _place(model: ModelProto, name: str) -> int:
    """Right behind the node that computes a tensor; in front where it is an input."""
    return next((i + 1 for i, node in enumerate(model.graph.node) if name in node.output), 0)


def _factor(old: int, new: int) -> float:
    """A factor in single precision that no rounding down takes below the size that is wanted."""
    factor = np.float32(new / old)
    while math.floor(float(factor) * old) < new or math.floor(factor * np.float32(old)) < new:
        factor = np.nextafter(factor, np.float32(2.0))
    return float(factor)


def _check_outputs(model: ModelProto, before: Mapping[str, tuple[Size, ...]]) -> None:
    """Outputs must not change with the image: what is done to maps has to end in a pooling over all of them."""
    if reason := misfit(model):
        raise RecipeError(f"downsample step: {reason}; leave the step out")
    after = declared_shapes(infer_shapes(model))
    for output in model.graph.output:
        if before.get(output.name) != after.get(output.name):
            raise RecipeError(
                f"downsample step: the output {output.name!r} would get another size with a smaller image; "
                "leave the step out"
            )
