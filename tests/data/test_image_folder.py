import numpy as np
import pytest
from PIL import Image

from autocompress.data import ModelInput, SampleSource, data_spec, open_source
from autocompress.errors import DataError

RGB = ModelInput("x", "float32", ("N", 3, 8, 8))
RNG = np.random.default_rng(0)


def write(path, size=(8, 8), mode="RGB"):
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = RNG.integers(0, 256, (*size, 3), dtype=np.uint8)
    Image.fromarray(pixels).convert(mode).save(path)
    return pixels


def test_class_folders(tmp_path):
    pixels = [write(tmp_path / name) for name in ("ant/b.png", "ant/c.png", "cat/a.png")]
    (tmp_path / "ant" / "notes.txt").write_text("no image")
    opened = open_source(data_spec(tmp_path, preprocess={"divide": 255}), [RGB])
    assert isinstance(opened, SampleSource)
    assert (len(opened), opened.has_labels, opened.input_names) == (3, True, ("x",))
    assert "'ant' = 0 to 'cat' = 1" in opened.notices[0]
    np.testing.assert_array_equal(opened.labels([2, 0]), [1, 0])
    got = opened.inputs([0, 2])["x"]
    np.testing.assert_allclose(got, np.stack([pixels[0], pixels[2]]).transpose(0, 3, 1, 2) / 255, atol=1e-6)
    extras = opened.extras([2])
    assert extras["path"].tolist() == ["cat/a.png"]
    np.testing.assert_array_equal(extras["sample_index"], [2])


def test_numbered_folders_are_the_labels_themselves(tmp_path):
    for name in ("10/a.png", "2/a.png", "7/a.png"):
        write(tmp_path / name)
    opened = open_source(data_spec(tmp_path, preprocess={"scale": 1}), [RGB])
    paths = opened.extras(range(3))["path"].tolist()
    assert dict(zip(paths, opened.labels(range(3)).tolist(), strict=True)) == {
        "10/a.png": 10, "2/a.png": 2, "7/a.png": 7,
    }  # fmt: skip


def test_listed_classes_set_the_order(tmp_path):
    for name in ("ant/a.png", "cat/a.png"):
        write(tmp_path / name)
    opened = open_source(data_spec(tmp_path, preprocess={"classes": ["cat", "dog", "ant"], "scale": 1}), [RGB])
    np.testing.assert_array_equal(opened.labels([0, 1]), [2, 0])
    with pytest.raises(DataError, match="'cat' is not listed"):
        open_source(data_spec(tmp_path, preprocess={"classes": ["ant"]}), [RGB])


def test_flat_folder_has_no_labels(tmp_path):
    write(tmp_path / "a.png")
    opened = open_source(data_spec(tmp_path), [RGB])
    assert not opened.has_labels
    assert "without scaling" in opened.notices[0]
    with pytest.raises(DataError, match="no class folders"):
        opened.labels([0])


def test_sizes_colours_and_layouts(tmp_path):
    pixels = write(tmp_path / "a.png", (16, 20))
    section = {"resize": 8, "crop": 8, "color": "BGR"}
    got = open_source(data_spec(tmp_path, preprocess=section), [RGB]).inputs([0])["x"]
    resized = np.asarray(Image.fromarray(pixels).resize((10, 8), Image.Resampling.BILINEAR))[:, 1:9]
    np.testing.assert_array_equal(got[0], resized[:, :, ::-1].transpose(2, 0, 1))
    grey = open_source(data_spec(tmp_path, preprocess={"resize": [8, 8]}), [ModelInput("x", "float32", (1, 1, 8, 8))])
    assert grey.inputs([0])["x"].shape == (1, 1, 8, 8)
    last = open_source(data_spec(tmp_path, preprocess={"resize": [8, 8]}), [ModelInput("x", "float32", (1, 8, 8, 3))])
    assert last.inputs([0])["x"].shape == (1, 8, 8, 3)


def test_modes_are_decoded_to_rgb(tmp_path):
    for k, mode in enumerate(("L", "P", "RGBA", "CMYK")):
        write(tmp_path / f"{k}.{'tif' if mode == 'CMYK' else 'png'}", mode=mode)
    assert open_source(data_spec(tmp_path), [RGB]).inputs(range(4))["x"].shape == (4, 3, 8, 8)


def test_mistakes_are_named(tmp_path):
    with pytest.raises(DataError, match="holds no images"):
        open_source(data_spec(tmp_path), [RGB])
    write(tmp_path / "a" / "a.png", (8, 9))
    opened = open_source(data_spec(tmp_path), [RGB])
    with pytest.raises(DataError, match=r"a\.png.*\(n, 3, 8, 8\)"):
        opened.inputs([0])
    with pytest.raises(DataError, match=r"\(n, 3, 9, 9\).*\(n, 3, 8, 8\)"):
        open_source(data_spec(tmp_path, preprocess={"crop": 9}), [RGB])
    write(tmp_path / "a" / "b.png", (8, 8))
    anything = [ModelInput("x", "float32", ("N", 3, "H", "W"))]
    with pytest.raises(DataError, match="set resize and crop"):
        open_source(data_spec(tmp_path), anything).inputs([0, 1])
    write(tmp_path / "loose.png")
    with pytest.raises(DataError, match="beside them"):
        open_source(data_spec(tmp_path), [RGB])
    with pytest.raises(DataError, match="image input"):
        open_source(data_spec(tmp_path), [ModelInput("x", "float32", ("N", 4))])
    with pytest.raises(DataError, match="fixes the batch at 4"):
        open_source(data_spec(tmp_path), [ModelInput("x", "float32", (4, 3, 8, 8))])


def test_unreadable_images_are_named(tmp_path):
    write(tmp_path / "good.jpg", (64, 64))
    content = (tmp_path / "good.jpg").read_bytes()
    (tmp_path / "cut.jpg").write_bytes(content[: len(content) // 2])
    opened = open_source(data_spec(tmp_path, preprocess={"resize": [8, 8]}), [RGB])
    with pytest.raises(DataError, match=r"cut\.jpg could not be decoded"):
        opened.inputs([0])
    (tmp_path / "text.jpg").write_text("hello")
    with pytest.raises(DataError, match=r"text\.jpg could not be read"):
        open_source(data_spec(tmp_path, preprocess={"resize": [8, 8]}), [RGB])
