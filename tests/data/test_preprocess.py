import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from autocompress.data import ModelInput, load_preprocess, parse_preprocess
from autocompress.data.imaging import ImageTransform
from autocompress.data.pixels import crop_slices, resize_image, resized_size
from autocompress.data.preprocess import ImagePreprocess
from autocompress.errors import DataError

NCHW = ModelInput("x", "float32", ("N", 3, 8, 10))
NHWC = ModelInput("x", "float32", ("N", 8, 10, 3))
U8 = np.dtype(np.uint8)
PIXELS = np.random.default_rng(0).integers(0, 256, (4, 8, 10, 3), dtype=np.uint8)
MEAN, STD = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])


def transform(section, model_input, pixels):
    step = ImageTransform(section, model_input, pixels.shape, pixels.dtype, "Array 'x'")
    return step(pixels), step


@pytest.mark.parametrize("layout", ["NCHW", "NHWC"])
@pytest.mark.parametrize("model_input", [NCHW, NHWC], ids=["to_first", "to_last"])
def test_the_two_ways_to_write_a_normalisation_agree_with_the_formula(layout, model_input):
    stored = PIXELS if layout == "NHWC" else PIXELS.transpose(0, 3, 1, 2)
    expected = (PIXELS / 255 - MEAN) / STD
    if model_input is NCHW:
        expected = expected.transpose(0, 3, 1, 2)
    for content in (
        {"divide": 255, "mean": MEAN.tolist(), "std": STD.tolist(), "layout": layout},
        {"scale": (1 / 255 / STD).tolist(), "bias": (-MEAN / STD).tolist(), "layout": layout},
    ):
        got, step = transform(parse_preprocess(content).images, model_input, stored)
        assert got.dtype == np.float32
        assert step.notices == ()
        np.testing.assert_allclose(got, expected, atol=2e-6)


def test_layout_is_found_from_the_shapes_and_said():
    got, step = transform(ImagePreprocess(), NCHW, PIXELS)
    np.testing.assert_array_equal(got, PIXELS.transpose(0, 3, 1, 2))
    assert "transposed" in step.notices[0]
    got, step = transform(ImagePreprocess(), NCHW, PIXELS.transpose(0, 3, 1, 2))
    assert step.notices == ()


def test_colour_order():
    got, _ = transform(ImagePreprocess(color="BGR", data_color="RGB"), NHWC, PIXELS)
    np.testing.assert_array_equal(got, PIXELS[..., ::-1])
    got, step = transform(ImagePreprocess(color="BGR"), NHWC, PIXELS)
    np.testing.assert_array_equal(got, PIXELS)
    assert "data_color" in step.notices[0]


def test_scale_is_per_channel_of_the_model_after_the_swap():
    got, _ = transform(ImagePreprocess(scale=(1.0, 2.0, 3.0), color="BGR", data_color="RGB"), NHWC, PIXELS)
    np.testing.assert_array_equal(got, PIXELS[..., ::-1] * np.array([1.0, 2.0, 3.0]))


def test_resize_and_crop_follow_pillow():
    pixels = np.random.default_rng(1).integers(0, 256, (2, 30, 41, 3), dtype=np.uint8)
    got, _ = transform(ImagePreprocess(resize=16, crop=(8, 10), layout="NHWC"), NCHW, pixels)
    for image, out in zip(pixels, got, strict=True):
        reference = np.asarray(Image.fromarray(image).resize((21, 16), Image.Resampling.BILINEAR))  # 41 * 16 // 30 = 21
        np.testing.assert_array_equal(out, reference[4:12, 6:16].transpose(2, 0, 1))  # round((21 - 10) / 2) = 6


def test_grey_images_without_a_channel_axis():
    grey = PIXELS[..., 0]
    got, _ = transform(ImagePreprocess(), ModelInput("x", "float32", ("N", 1, 8, 10)), grey)
    np.testing.assert_array_equal(got, grey[:, None])


def test_an_odd_number_of_planes_is_resized_plane_by_plane():
    planes = np.random.default_rng(2).standard_normal((12, 12, 5)).astype(np.float32)
    got = resize_image(planes, (6, 6), "area")
    np.testing.assert_allclose(got, planes.reshape(6, 2, 6, 2, 5).mean((1, 3)), atol=1e-6)


@settings(max_examples=50, deadline=None)
@given(st.integers(1, 60), st.integers(1, 60), st.integers(1, 40))
def test_short_side_and_ratio(height, width, short):
    size = resized_size((height, width), short)
    assert min(size) == short
    assert size[0] == short * height // min(height, width)


def test_crop_too_large():
    with pytest.raises(DataError, match="too small"):
        crop_slices((5, 9), (6, 6), "a.png")
    with pytest.raises(DataError, match="too small"):
        ImageTransform(ImagePreprocess(crop=(20, 20), layout="NHWC"), NCHW, PIXELS.shape, U8, "Array 'x'")


@pytest.mark.parametrize(
    ("content", "match"),
    [
        ({"scael": 1}, "scael"),
        ({"scale": "big"}, "number"),
        ({"scale": []}, "empty"),
        ({"scale": True}, "number"),
        ({"scale": float("nan")}, "number"),
        ({"mean": 0.5, "std": 0.5}, "divide: 255"),
        ({"divide": 255, "std": [0.0, 1, 1]}, "zero"),
        ({"divide": 255, "mean": [1, 2], "std": [1, 2, 3]}, "channels"),
        ({"scale": 1, "divide": 255}, "two ways"),
        ({"layout": "CHW"}, "NCHW"),
        ({"color": "HSV"}, "RGB"),
        ({"resize": 0}, "positive"),
        ({"crop": [1, 2, 3]}, "height"),
        ({"crop": 2.5}, "positive"),
        ({"interpolation": "magic"}, "bilinear"),
        ({"classes": ["a", "a"]}, "different"),
        ({"left": {"scael": 1}}, r"left\.scael"),
    ],
)
def test_mistakes_are_named(content, match):
    with pytest.raises(DataError, match=match):
        parse_preprocess(content)


def test_file_forms(tmp_path):
    path = tmp_path / "p.yaml"
    path.write_text("scale: 1/255\nbias: [-1e-1, 0, 2]\nlayout: nhwc\nresize: [8, 10]\nleft: {scale: 2}\n")
    read = load_preprocess(path)
    assert read.images == ImagePreprocess(scale=(1 / 255,), bias=(-0.1, 0.0, 2.0), layout="NHWC", resize=(8, 10))
    assert read.for_input("left") == ImagePreprocess(scale=(2.0,))
    assert read.for_input("right") is None
    path.write_text("scale: [1,")
    with pytest.raises(DataError, match="not YAML"):
        load_preprocess(path)
    path.write_text("- 1")
    with pytest.raises(DataError, match="keys"):
        load_preprocess(path)
    with pytest.raises(DataError, match="could not be read"):
        load_preprocess(tmp_path / "none.yaml")


def test_channel_count_must_match():
    with pytest.raises(DataError, match="2 numbers"):
        ImageTransform(ImagePreprocess(scale=(1.0, 2.0)), NCHW, (4, 3, 8, 10), U8, "Array 'x'")
    with pytest.raises(DataError, match="do not apply"):
        ImageTransform(ImagePreprocess(scale=(2.0,)), ModelInput("x", "uint8", (1, 3, 8, 10)), (4, 3, 8, 10), U8, "a")
