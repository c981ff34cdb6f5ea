"""Where a network reads its image: the one tensor that all its first convolutions see."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from onnx import ModelProto, NodeProto

from autocompress.graph.index import GraphIndex
from autocompress.graph.inference import declared_shapes, infer_shapes
from autocompress.graph.specs import Size
from autocompress.graph.walk import names_read

_IMAGE_DIMENSIONS = 4


@dataclass(frozen=True)
class Image:
    """The tensor to make smaller.

    Attributes:
        name: of the tensor, of shape (samples, channels, height, width).
        height: in pixels; None where the model takes images of any size.
        width: the same.
    """

    name: str
    height: int | None
    width: int | None


def find_image(model: ModelProto) -> Image | str:
    """The image that a model reads, or one clause that says why there is none to make smaller.

    Args:
        model: normalized and folded.
    """
    return image_among(model, declared_shapes(infer_shapes(model)))


def image_among(model: ModelProto, shapes: Mapping[str, tuple[Size, ...]]) -> Image | str:
    """The same, from the shapes of the model's tensors."""
    index = GraphIndex(model)
    read = dict.fromkeys(_unpadded(index, node.input[0]) for node in _first_convolutions(model))
    if not read:
        return "no convolution reads an image"
    if len(read) > 1:
        return f"its first convolutions read different tensors ({', '.join(map(repr, read))})"
    name = next(iter(read))
    sizes = shapes.get(name, ())
    if len(sizes) != _IMAGE_DIMENSIONS:
        return f"what its first convolution reads ({name!r}) is no image"
    height, width = sizes[2:]
    return Image(name, height if isinstance(height, int) else None, width if isinstance(width, int) else None)


def _first_convolutions(model: ModelProto) -> list[NodeProto]:
    """Convolutions that no other convolution stands before."""
    behind: set[str] = set()
    first = []
    for node in model.graph.node:
        follows = not behind.isdisjoint(names_read(node))
        if node.op_type == "Conv" and not follows:
            first.append(node)
        if follows or node.op_type == "Conv":
            behind.update(node.output)
    return first


def _unpadded(index: GraphIndex, name: str) -> str:
    """The tensor before a Pad: borders are put around the smaller image, rather than made smaller with it."""
    producer = index.producers.get(name)
    return producer.input[0] if producer is not None and producer.op_type == "Pad" else name
