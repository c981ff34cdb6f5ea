import numpy as np
import pytest

from autocompress.data import ModelInput, SampleSource, data_spec, open_source
from autocompress.errors import DataError

RNG = np.random.default_rng(0)
X = ModelInput("x", "float32", ("N", 4))
IMAGE = ModelInput("x", "float32", ("N", 3, 8, 8))
IDS = ModelInput("ids", "int64", ("N", "L"))


def source(tmp_path, inputs, preprocess=None, **arrays):
    np.savez(tmp_path / "d.npz", **arrays)
    return open_source(data_spec(tmp_path / "d.npz", preprocess=preprocess), inputs)


def test_inputs_labels_and_extras(tmp_path):
    x, labels, boxes, n = RNG.standard_normal((9, 4)), np.arange(9), RNG.standard_normal((20, 5)), np.float32(3)
    opened = source(tmp_path, [X], x=x, labels=labels, boxes=boxes, sigma=n, weight=labels / 2)
    assert isinstance(opened, SampleSource)
    assert (len(opened), opened.input_names, opened.has_labels, opened.notices) == (9, ("x",), True, ())
    got = opened.inputs([7, 2])["x"]
    assert got.dtype == np.float32
    assert got.flags.c_contiguous
    np.testing.assert_array_equal(got, x[[7, 2]].astype(np.float32))
    np.testing.assert_array_equal(opened.labels([7, 2]), [7, 2])
    extras = opened.extras([7, 2])
    assert set(extras) == {"labels", "boxes", "sigma", "weight", "sample_index"}
    np.testing.assert_array_equal(extras["sample_index"], [7, 2])
    np.testing.assert_array_equal(extras["weight"], [3.5, 1.0])
    np.testing.assert_array_equal(extras["boxes"], boxes)
    assert extras["sigma"] == 3
    opened.close()


def test_the_only_input_takes_the_only_array_that_fits(tmp_path):
    opened = source(tmp_path, [X], samples=np.zeros((5, 4)), y=np.zeros(5))
    assert opened.input_names == ("x",)
    assert "'samples' is taken" in opened.notices[0]
    assert "rename it to 'labels'" in opened.notices[1]
    assert not opened.has_labels
    with pytest.raises(DataError, match="labels"):
        opened.labels([0])


@pytest.mark.parametrize(
    ("inputs", "arrays", "match"),
    [
        ([X], {"a": np.zeros((5, 4)), "b": np.zeros((5, 4))}, "no array for the model's input 'x'"),
        ([X], {"labels": np.zeros(5)}, "no array"),
        ([IDS, ModelInput("mask", "int64", ("N", "L"))], {"ids": np.zeros((5, 3), int)}, "'mask'"),
        ([X], {"x": np.zeros((5, 3))}, r"shape \(5, 3\).*\(n, 4\)"),
        ([X], {"x": np.zeros((5, 4, 1))}, r"\(5, 4, 1\)"),
        ([X], {"x": np.zeros(4)}, "add the sample axis"),
        ([IMAGE], {"x": np.zeros((3, 8, 8), np.float32)}, "add the sample axis"),
        ([IMAGE], {"x": np.zeros((5, 3, 8, 9), np.uint8)}, r"\(n, 3, 8, 9\).*\(n, 3, 8, 8\)"),
        ([IDS], {"ids": np.zeros((5, 3), np.float32)}, "float32 but the model takes int64"),
        ([X], {"x": np.array([["a"] * 4] * 5)}, "no number"),
        ([X], {"x": np.zeros((0, 4))}, "empty"),
        ([X], {"x": np.zeros((5, 4)), "labels": np.zeros(4)}, "4 labels for 5 samples"),
        ([X], {"x": np.zeros((5, 4)), "labels": np.array(["cat"] * 5)}, "must be numbers"),
        (
            [IDS, ModelInput("mask", "int64", ("N", "L"))],
            {"ids": np.zeros((5, 3), int), "mask": np.zeros((4, 3), int)},
            "disagree.*'ids' 5, 'mask' 4",
        ),
        ([ModelInput("x", "float32", (8, 4))], {"x": np.zeros((16, 4))}, "fixes the batch at 8"),
        ([ModelInput("x", "string", ("N",))], {"x": np.zeros(4)}, "not supported"),
        ([], {"x": np.zeros(4)}, "no inputs"),
    ],
)
def test_what_does_not_fit_is_named(tmp_path, inputs, arrays, match):
    with pytest.raises(DataError, match=match) as caught:
        source(tmp_path, inputs, **arrays)
    assert str(caught.value).count(". ") == 0  # one sentence


@pytest.mark.parametrize(("value", "name"), [(np.nan, "NaN"), (np.inf, "Inf"), (1e300, "Inf")])
def test_values_that_are_not_finite_name_array_and_sample(tmp_path, value, name):
    x = np.zeros((6, 4))
    x[4, 1] = value
    opened = source(tmp_path, [X], x=x)
    opened.inputs([0, 1, 2, 3, 5])
    with pytest.raises(DataError, match=rf"'x' holds {name} at sample 4"):
        opened.inputs([5, 4])


def test_labels_that_are_not_finite(tmp_path):
    opened = source(tmp_path, [X], x=np.zeros((3, 4)), labels=np.array([0.0, np.nan, 1.0]))
    with pytest.raises(DataError, match="'labels' holds NaN at sample 1"):
        opened.extras([0, 1])


def test_integers_are_narrowed_only_when_they_fit(tmp_path):
    narrow = [ModelInput("ids", "int32", ("N", "L"))]
    np.testing.assert_array_equal(
        source(tmp_path, narrow, ids=np.full((2, 3), 7, np.int64)).inputs([1])["ids"], np.full((1, 3), 7, np.int32)
    )
    with pytest.raises(DataError, match="outside int32 at sample 1"):
        source(tmp_path, narrow, ids=np.array([[1, 2], [3, 2**40]])).inputs([0, 1])
    flags = [ModelInput("m", "bool", ("N",))]
    assert source(tmp_path, flags, m=np.array([0, 1])).inputs([1])["m"].dtype == bool
    with pytest.raises(DataError, match="other than 0 and 1"):
        source(tmp_path, flags, m=np.array([0, 2])).inputs([0, 1])


def test_scalars_and_fixed_arrays_are_given_whole(tmp_path):
    inputs = [X, ModelInput("rate", "int64", ()), ModelInput("state", "float32", (2, 1, 3))]
    state = RNG.standard_normal((2, 1, 3)).astype(np.float32)
    opened = source(tmp_path, inputs, x=np.zeros((5, 4)), rate=np.array(16000), state=state)
    assert len(opened) == 5
    assert opened.largest_batch is None
    fed = opened.inputs([3])
    assert fed["rate"].shape == ()
    assert fed["rate"] == 16000
    np.testing.assert_array_equal(fed["state"], state)
    with pytest.raises(DataError, match="one number"):
        source(tmp_path, inputs, x=np.zeros((5, 4)), rate=np.zeros(5, int), state=state)


def test_fixed_batch_of_one_is_told(tmp_path):
    assert source(tmp_path, [ModelInput("x", "float32", (1, 4))], x=np.zeros((5, 4))).largest_batch == 1


def test_pixels_without_preprocessing_are_noticed(tmp_path):
    pixels = RNG.integers(0, 255, (4, 3, 8, 8), dtype=np.uint8)
    opened = source(tmp_path, [IMAGE], x=pixels)
    assert "without scaling" in opened.notices[0]
    np.testing.assert_array_equal(opened.inputs([2])["x"], pixels[[2]].astype(np.float32))
    assert source(tmp_path, [IMAGE], {"scale": 1 / 255}, x=pixels).notices == ()


def test_float_images_are_transposed_when_only_that_fits(tmp_path):
    x = RNG.standard_normal((4, 8, 8, 3)).astype(np.float32)
    opened = source(tmp_path, [IMAGE], x=x)
    assert "transposed" in opened.notices[0]
    np.testing.assert_array_equal(opened.inputs([1])["x"], x[[1]].transpose(0, 3, 1, 2))


def test_which_arrays_preprocessing_applies_to(tmp_path):
    floats = RNG.standard_normal((4, 3, 8, 8)).astype(np.float32)
    opened = source(tmp_path, [IMAGE], {"scale": 2}, x=floats)
    assert "not applied" in opened.notices[0]
    np.testing.assert_array_equal(opened.inputs([0])["x"], floats[:1])
    opened = source(tmp_path, [IMAGE], {"x": {"scale": 2}}, x=floats)
    np.testing.assert_array_equal(opened.inputs([0])["x"], 2 * floats[:1])
    with pytest.raises(DataError, match="'z'"):
        source(tmp_path, [IMAGE], {"z": {"scale": 2}}, x=floats)


def test_scaling_of_arrays_that_are_no_images(tmp_path):
    bytes_ = RNG.integers(0, 255, (5, 4), dtype=np.uint8)
    got = source(tmp_path, [X], {"scale": 0.5, "bias": 1}, x=bytes_).inputs([3])["x"]
    np.testing.assert_array_equal(got, bytes_[[3]] * np.float32(0.5) + 1)
    got = source(tmp_path, [X], {"scale": [1, 2, 3, 4]}, x=bytes_).inputs([3])["x"]
    np.testing.assert_array_equal(got, bytes_[[3]] * np.array([1, 2, 3, 4]))
    with pytest.raises(DataError, match="for images"):
        source(tmp_path, [X], {"resize": 4}, x=bytes_)
    with pytest.raises(DataError, match="one number or 4"):
        source(tmp_path, [X], {"scale": [1, 2]}, x=bytes_)


def test_a_single_npy_file(tmp_path):
    np.save(tmp_path / "samples.npy", np.ones((5, 4)))
    opened = open_source(data_spec(tmp_path / "samples.npy"), [X])
    assert len(opened) == 5
    assert "samples" in opened.notices[0]
