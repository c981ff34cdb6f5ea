"""A smaller image inside the network: against torch's interpolation, and what must be left alone."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch

from autocompress.errors import RecipeError
from autocompress.passes.downsample import DownsampleConfig, Image, downsample, find_image, smaller_sizes, stretch

sys.path.append(str(Path(__file__).parent))
from layer_graphs import LayerGraph, run

SIZES = [(20, 20), (24, 18), (23, 17), (13, 24)]


def images(count: int = 2, channels: int = 3, height: int = 24, width: int = 24) -> np.ndarray:
    return np.random.default_rng(1).standard_normal((count, channels, height, width)).astype(np.float32)


def body(g: LayerGraph, image: str, head: Callable[[LayerGraph, str], str], *, pads: int = 1) -> None:
    x = g.op("Relu", g.op("Conv", image, g.random(8, 3, 3, 3), g.random(8), pads=[pads] * 4))
    x = g.op("Relu", g.op("Conv", x, g.random(12, 8, 3, 3), g.random(12), pads=[1] * 4, strides=[2, 2]))
    g.output(head(g, x))


def classified(g: LayerGraph, x: str) -> str:
    return g.op("Gemm", g.op("Flatten", g.op("GlobalAveragePool", x)), g.random(12, 5))


def network(head: Callable[[LayerGraph, str], str] = classified, *, size: object = 24) -> onnx.ModelProto:
    g = LayerGraph()
    body(g, g.input("image", 3, size, size), head)  # type: ignore[arg-type]
    return g.model()


def interpolated(values: np.ndarray, height: int, width: int) -> np.ndarray:
    smaller = torch.nn.functional.interpolate(torch.from_numpy(values), (height, width), mode="bilinear")
    return np.asarray(smaller.numpy())


def at_any_size(model: onnx.ModelProto) -> onnx.ModelProto:
    """The same layers, taking images of every size: what the smaller image is given to in the reference."""
    free = onnx.ModelProto()
    free.CopyFrom(model)
    del free.graph.value_info[:]
    for axis in (2, 3):
        free.graph.input[0].type.tensor_type.shape.dim[axis].dim_param = f"s{axis}"
    return free


@pytest.mark.parametrize(("height", "width"), SIZES)
def test_layers_see_the_interpolated_image(height: int, width: int) -> None:
    model = network()
    smaller = downsample(model, DownsampleConfig(height, width))
    onnx.checker.check_model(smaller, full_check=True)
    given = images()
    found = run(smaller, {"image": given})
    wanted = run(at_any_size(model), {"image": interpolated(given, height, width)})
    np.testing.assert_allclose(found, wanted, rtol=1e-4, atol=1e-5)


def test_inputs_outputs_and_weights_stay() -> None:
    model = network()
    before = model.SerializeToString()
    smaller = downsample(model, DownsampleConfig(16, 16))
    assert model.SerializeToString() == before
    assert list(smaller.graph.input) == list(model.graph.input)
    assert [o.name for o in smaller.graph.output] == [o.name for o in model.graph.output]
    known = {w.name: w.raw_data for w in smaller.graph.initializer}
    assert all(known[w.name] == w.raw_data for w in model.graph.initializer)


def test_the_full_size_changes_nothing() -> None:
    model = network()
    found = run(downsample(model, DownsampleConfig(24, 24)), {"image": images()})
    wanted = run(model, {"image": images()})
    np.testing.assert_allclose(found, wanted, rtol=1e-6, atol=1e-6)


def test_no_rounding_takes_a_row_away() -> None:
    """Factors such as 192 / 224 are rounded to single precision, and sizes are rounded down."""
    wrong = []
    for old in (24, 30, 224):
        g = LayerGraph()
        body(g, g.input("image", 3, old, old), classified)
        model = g.model()
        for new in range(old // 2, old):
            smaller = onnx.shape_inference.infer_shapes(downsample(model, DownsampleConfig(new, new)))
            sizes = {v.name: [d.dim_value for d in v.type.tensor_type.shape.dim] for v in smaller.graph.value_info}
            if sizes["image_downsampled"][2:] != [new, new]:
                wrong.append((old, new))
    assert not wrong


def test_a_pooling_over_the_whole_map_stays_one() -> None:
    def pooled(g: LayerGraph, x: str) -> str:
        return g.op("Gemm", g.op("Flatten", g.op("AveragePool", x, kernel_shape=[12, 12])), g.random(12, 5))

    model = network(pooled)
    found = run(downsample(model, DownsampleConfig(18, 18)), {"image": images()})
    g = LayerGraph()
    body(g, g.input("image", 3, 18, 18), classified)  # the same weights: the same seed in the same order
    wanted = run(g.model(), {"image": interpolated(images(), 18, 18)})
    np.testing.assert_allclose(found, wanted, rtol=1e-4, atol=1e-5)


def test_borders_are_put_around_the_smaller_image() -> None:
    g = LayerGraph()
    padded = g.op("Pad", g.input("image", 3, 24, 24), g.constant(np.array([0, 0, 2, 2, 0, 0, 2, 2])), mode="reflect")
    body(g, padded, classified, pads=0)
    assert find_image(g.model()) == Image("image", 24, 24)


def test_images_with_channels_last_are_found_behind_the_transpose() -> None:
    g = LayerGraph()
    shifted = g.op("Sub", g.op("Transpose", g.input("image", 24, 20, 3), perm=[0, 3, 1, 2]), g.random(1, 3, 1, 1))
    body(g, shifted, classified)
    model = g.model()
    found = find_image(model)
    assert isinstance(found, Image) and (found.height, found.width) == (24, 20)
    given = images(height=24, width=20)
    result = run(downsample(model, DownsampleConfig(18, 15)), {"image": given.transpose(0, 2, 3, 1).copy()})
    reference = at_any_size(model)
    for axis in (1, 2):
        reference.graph.input[0].type.tensor_type.shape.dim[axis].dim_param = f"a{axis}"
    reference.graph.input[0].type.tensor_type.shape.dim[3].dim_value = 3
    small = interpolated(given, 18, 15).transpose(0, 2, 3, 1).copy()
    np.testing.assert_allclose(result, run(reference, {"image": small}), rtol=1e-4, atol=1e-5)


def flattened(g: LayerGraph, x: str) -> str:
    return g.op("Gemm", g.op("Flatten", x), g.random(12 * 12 * 12, 5))


def reshaped(g: LayerGraph, x: str) -> str:
    return g.op("Reshape", x, g.constant(np.array([0, 12 * 144])))


def as_it_is(g: LayerGraph, x: str) -> str:
    return x


@pytest.mark.parametrize("head", [flattened, reshaped, as_it_is])
def test_networks_that_need_the_full_size_are_left_alone(head: Callable[[LayerGraph, str], str]) -> None:
    with pytest.raises(RecipeError, match=r"downsample step: .*(needs the full size|another size)"):
        downsample(network(head), DownsampleConfig(16, 16))


def two_cameras() -> onnx.ModelProto:
    g = LayerGraph()
    both = [g.op("Conv", g.input(name, 3, 24, 24), g.random(4, 3, 3, 3)) for name in ("left", "right")]
    g.output(g.op("GlobalAveragePool", g.op("Add", *both)))
    return g.model()


def no_convolution() -> onnx.ModelProto:
    g = LayerGraph()
    g.output(g.op("MatMul", g.input("x", 8), g.random(8, 4)))
    return g.model()


def sound() -> onnx.ModelProto:
    g = LayerGraph()
    g.output(g.op("Conv", g.input("sound", 3, 64), g.random(4, 3, 3)))
    return g.model()


@pytest.mark.parametrize(
    ("model", "reason"),
    [
        (two_cameras(), "first convolutions read different tensors"),
        (no_convolution(), "no convolution reads an image"),
        (sound(), "is no image"),
    ],
)
def test_models_without_one_image_of_known_size_are_named(model: onnx.ModelProto, reason: str) -> None:
    found = find_image(model)
    assert isinstance(found, str) and reason in found
    with pytest.raises(RecipeError, match=reason):
        downsample(model, DownsampleConfig(8, 8))


def test_models_of_any_size_make_every_image_smaller_by_the_same_factor() -> None:
    model = network(size="s")
    assert find_image(model) == Image("image", None, None)
    smaller = downsample(model, DownsampleConfig(18, 12, 24, 24))
    for size in (24, 48):
        found = run(smaller, {"image": images(height=size, width=size)})
        wanted = run(model, {"image": interpolated(images(height=size, width=size), size * 3 // 4, size // 2)})
        np.testing.assert_allclose(found, wanted, rtol=1e-4, atol=1e-5)
    with pytest.raises(RecipeError, match="is not fixed; give full_height and full_width"):
        downsample(model, DownsampleConfig(18, 12))


def test_a_larger_image_is_refused() -> None:
    with pytest.raises(RecipeError, match="24 x 24 pixels, fewer than 25 x 24"):
        downsample(network(), DownsampleConfig(25, 24))


@pytest.mark.parametrize(
    ("row", "complaint"),
    [
        ({"height": 0, "width": 3}, "height is 0"),
        ({"height": 3, "width": 2.5}, "width is 2.5"),
        ({"height": True, "width": 2}, "height is True"),
        ({"height": 3}, "width is missing"),
        ({"height": 3, "width": 3, "depth": 1}, "unknown field 'depth'"),
    ],
)
def test_malformed_sizes_are_refused(row: dict[str, object], complaint: str) -> None:
    with pytest.raises(RecipeError, match=complaint):
        DownsampleConfig.from_dict(row)


@pytest.mark.parametrize(
    ("height", "width", "kept"),
    [
        (224, 224, [(208, 208), (192, 192), (176, 176), (160, 160), (144, 144), (128, 128), (112, 112)]),
        (32, 32, [(n, n) for n in range(30, 15, -2)]),
        (120, 160, [(112, 152), (104, 136), (96, 128), (88, 120), (80, 104), (72, 96), (64, 88)]),
        (49, 10, [(40, 8), (30, 6)]),
    ],
)
def test_sizes_keep_the_proportions_or_shorten_one_side(height: int, width: int, kept: list[tuple[int, int]]) -> None:
    found = smaller_sizes(height, width)
    assert found[: len(kept)] == kept
    assert len(found) == len(set(found)) and (height, width) not in found
    assert all(h <= height and w <= width for h, w in found)
    shapes = [stretch(size, (height, width)) for size in found]
    assert max(shapes[: len(kept)]) < 0.25 and max(shapes) < np.log(2) + 1e-9
    assert {(h, width) for h, _ in kept} <= set(found) or height > width
    assert {(height, w) for _, w in kept} <= set(found) or height <= width


def test_how_far_proportions_change() -> None:
    assert stretch((24, 24), (32, 32)) == 0
    assert stretch((16, 32), (32, 32)) == stretch((32, 16), (32, 32)) == pytest.approx(np.log(2))


def test_tiny_images_have_no_smaller_size() -> None:
    assert smaller_sizes(2, 2) == []
