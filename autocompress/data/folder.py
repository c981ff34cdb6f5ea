"""Samples from a folder of images; sub-folders, where there are any, are classes.

    images/0/a.png, images/1/b.png      names that are whole numbers are the labels themselves
    images/cat/a.jpg, images/dog/b.jpg  other names are numbered in alphabetical order, or as ``classes`` says
    images/a.jpg, images/b.jpg          no labels

Files that are no images are passed over.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from autocompress.data.binding import check_batch, check_sections
from autocompress.data.fit import cast_checked, declared_text, model_dtype, shape_fits, shape_text
from autocompress.data.imaging import ImageTransform
from autocompress.data.preprocess import ImagePreprocess, Preprocess
from autocompress.data.samples import LABELS, SAMPLE_INDEX, Array, Indices, ModelInputLike
from autocompress.errors import DataError

IMAGE_SUFFIXES = frozenset((".jpg", ".jpeg", ".png", ".bmp", ".gif", ".webp", ".tif", ".tiff", ".ppm", ".pgm"))
_PIXELS = np.dtype(np.uint8)
_VERIFIED_AT_OPENING = 2000


class ImageFolderSource:
    """A ``SampleSource`` over image files, decoded when they are asked for.

    ``extras`` gives ``labels`` (where there are classes) and ``path``, relative to the folder.

    Args:
        folder: the folder.
        model_inputs: what the model takes: one image input.
        preprocess: what is done to the images (its ``layout`` and ``data_color`` do not apply to files).

    Raises:
        DataError: when there are no images, one is unreadable, or they cannot fit the model.
    """

    def __init__(self, folder: Path, model_inputs: Sequence[ModelInputLike], preprocess: Preprocess) -> None:
        check_sections(preprocess, model_inputs)
        check_batch(model_inputs, set())
        self._input = _only_image_input(model_inputs)
        self._section = preprocess.for_input(self._input.name) or preprocess.images
        self._folder = folder
        self._dtype = model_dtype(self._input)
        self._mode = "L" if _channel_count(self._input) == 1 else "RGB"
        self._paths, classes = list_images(folder)
        self._labels, label_notices = _number_classes(classes, preprocess.classes)
        self.input_names: tuple[str, ...] = (self._input.name,)
        self.has_labels = self._labels is not None
        self.largest_batch: int | None = 1 if self._input.shape[0] == 1 else None
        # Settles layouts and finds misfits before anything is decoded.
        self.notices = label_notices + self._raw_notice() + self._transform((None, None), str(folder)).notices
        for path in self._paths[:: 1 + len(self._paths) // _VERIFIED_AT_OPENING]:
            _check_header(path)

    def __len__(self) -> int:
        """Number of samples."""
        return len(self._paths)

    def inputs(self, indices: Indices) -> dict[str, Array]:
        """See ``SampleSource.inputs``."""
        images = [self._read(self._paths[int(i)]) for i in np.asarray(indices)]
        odd = next((k for k, image in enumerate(images) if image.shape != images[0].shape), None)
        if odd is not None:
            raise DataError(
                f"{self._paths[int(np.asarray(indices)[odd])]} gives {shape_text(images[odd].shape[1:])} and others "
                f"{shape_text(images[0].shape[1:])}: set resize and crop in preprocess.yaml, or use a batch size of 1."
            )
        return {self._input.name: np.concatenate(images)}

    def labels(self, indices: Indices) -> Array:
        """See ``SampleSource.labels``."""
        if self._labels is None:
            raise DataError(f"{self._folder} has no class folders, so there are no labels.")
        return self._labels[np.asarray(indices, dtype=np.intp)]

    def groups(self) -> Array | None:
        """None: every image stands for itself."""
        return None

    def extras(self, indices: Indices) -> dict[str, Array]:
        """See ``SampleSource.extras``."""
        wanted = np.asarray(indices, dtype=np.int64)
        given: dict[str, Array] = {LABELS: self.labels(indices)} if self.has_labels else {}
        given["path"] = np.array([self._paths[i].relative_to(self._folder).as_posix() for i in wanted])
        given[SAMPLE_INDEX] = wanted
        return given

    def close(self) -> None:
        """Nothing stays open."""

    def _read(self, path: Path) -> Array:
        pixels = _decode(path, self._mode)
        height, width = pixels.shape[:2]
        image = self._transform((height, width), str(path))(pixels[np.newaxis])
        if not shape_fits(self._input.shape[1:], image.shape[1:]):
            raise DataError(f"{path} gives {shape_text(('n', *image.shape[1:]))}, not {declared_text(self._input)}.")
        return cast_checked(image, self._dtype, str(path), [0])

    def _transform(self, size: tuple[int | None, int | None], label: str) -> ImageTransform:
        section = replace(self._section or ImagePreprocess(), layout="NHWC", data_color="RGB")
        stored = (None, *size, 1 if self._mode == "L" else 3)
        return ImageTransform(section, self._input, stored, _PIXELS, label)

    def _raw_notice(self) -> tuple[str, ...]:
        if self._section is not None or self._dtype.kind != "f":
            return ()
        return ("Images are fed as 0..255 without scaling; if the model expects otherwise, give a preprocess.yaml.",)


def list_images(folder: Path) -> tuple[list[Path], list[str]]:
    """Image files sorted by class and name, and the class folder of each (an empty list where there are none).

    Raises:
        DataError: when there are no images, or some lie in class folders and some beside them.
    """
    try:
        classes = sorted(d for d in folder.iterdir() if d.is_dir() and not d.name.startswith("."))
        loose = _images_in(folder.iterdir())
        inside = {c.name: _images_in(c.rglob("*")) for c in classes}
    except OSError as error:
        raise DataError(f"The image folder {folder} could not be listed: {error.strerror or error}.") from error
    paths = [path for listed in inside.values() for path in listed]
    if loose and paths:
        raise DataError(f"{folder} has images both in class folders and beside them, such as {loose[0].name}.")
    if not loose and not paths:
        raise DataError(f"{folder} holds no images ({', '.join(sorted(IMAGE_SUFFIXES))}).")
    return (loose, []) if loose else (paths, [name for name, listed in inside.items() for _ in listed])


def _images_in(entries: Iterable[Path]) -> list[Path]:
    shown = (p for p in entries if p.suffix.lower() in IMAGE_SUFFIXES and not p.name.startswith("."))
    return sorted(p for p in shown if p.is_file())


def _number_classes(classes: list[str], order: tuple[str, ...]) -> tuple[Array | None, tuple[str, ...]]:
    if not classes:
        return None, ()
    names = sorted(set(classes))
    notices: tuple[str, ...] = ()
    if order:
        unknown = [name for name in names if name not in order]
        if unknown:
            raise DataError(f"Class folder '{unknown[0]}' is not listed under 'classes' in the preprocessing file.")
        number = {name: order.index(name) for name in names}
    elif all(name.isdecimal() for name in names):
        number = {name: int(name) for name in names}
    else:
        number = {name: i for i, name in enumerate(names)}
        notices = (
            f"Class folders are numbered alphabetically, '{names[0]}' = 0 to '{names[-1]}' = {len(names) - 1}; if the "
            "model's outputs are in another order, list 'classes' in preprocess.yaml.",
        )
    return np.array([number[name] for name in classes], dtype=np.int64), notices


def _only_image_input(model_inputs: Sequence[ModelInputLike]) -> ModelInputLike:
    if len(model_inputs) != 1 or len(model_inputs[0].shape) != 4:
        found = ", ".join(f"'{i.name}' {declared_text(i)}" for i in model_inputs)
        raise DataError(f"A folder of images needs a model with one image input of 4 dimensions; this one has {found}.")
    return model_inputs[0]


def _channel_count(model_input: ModelInputLike) -> int:
    """1 where the model takes grey images, else 3."""
    first, last = model_input.shape[1], model_input.shape[3]
    return 1 if first == 1 or (last == 1 and first != 3) else 3


def _check_header(path: Path) -> None:
    from PIL import Image

    try:
        with Image.open(path):
            pass
    except Exception as error:  # Pillow raises many kinds, a decompression bomb among them
        raise DataError(f"The image {path} could not be read: {error}.") from error


def _decode(path: Path, mode: str) -> Array:
    from PIL import Image

    try:
        with Image.open(path) as image:
            pixels = np.asarray(image.convert(mode))
    except Exception as error:  # Pillow raises many kinds for damaged files, struct.error and SyntaxError among them
        raise DataError(f"The image {path} could not be decoded: {error}.") from error
    return pixels[:, :, np.newaxis] if pixels.ndim == 2 else pixels
