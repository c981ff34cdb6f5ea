"""One stored array bound to one model input: checked once, then read, preprocessed and cast batch by batch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from autocompress.data.fit import cast_checked, declared_text, dtype_problem, model_dtype, shape_fits, shape_text
from autocompress.data.imaging import ImageTransform
from autocompress.data.matching import match_names
from autocompress.data.preprocess import ImagePreprocess, Preprocess
from autocompress.data.rows import Rows
from autocompress.data.samples import Array, Indices, ModelInputLike
from autocompress.errors import DataError


class Binding:
    """Reads one model input.

    Attributes:
        name: the model input's name.
        array_name: the stored array's.
        shared: the array is not per sample but given whole with every batch (a scalar, a fixed initial state).
        notices: assumptions made.

    Raises:
        DataError: when dtype, rank or shape do not fit.
    """

    def __init__(
        self, model_input: ModelInputLike, array_name: str, rows: Rows, preprocess: Preprocess, *, shared: bool
    ) -> None:
        self.name = model_input.name
        self.array_name = array_name
        self.shared = shared
        self._rows = rows
        self._label = f"Array '{array_name}'"
        self._dtype = model_dtype(model_input)
        problem = dtype_problem(rows.dtype, self._dtype)
        if problem:
            raise DataError(f"{self._label} {problem}.")
        self._transform, self.notices = self._choose_transform(model_input, preprocess)
        self._constant: Array | None = None

    def read(self, indices: Indices) -> Array:
        """The input of the named samples, in the model's dtype.

        Raises:
            DataError: when a value is NaN, infinite or outside the model's dtype.
        """
        if not self.shared:
            return cast_checked(self._transform(self._rows.rows(indices)), self._dtype, self._label, indices)
        if self._constant is None:
            whole = self._rows.whole()
            check = whole.reshape(1) if whole.ndim == 0 else whole
            self._constant = cast_checked(check, self._dtype, self._label, range(len(check))).reshape(whole.shape)
        return self._constant

    def _choose_transform(self, model_input: ModelInputLike, preprocess: Preprocess) -> tuple[Any, tuple[str, ...]]:
        own = preprocess.for_input(self.name)
        is_pixels = self._rows.dtype == np.uint8 and not self.shared
        section = own or (preprocess.images if is_pixels else None)
        if own is not None and self.shared:
            raise DataError(f"Preprocessing of '{self.name}' makes no sense: its array is no set of samples.")
        notices: tuple[str, ...] = ()
        if is_pixels and section is None and self._dtype.kind == "f":
            notices = (
                f"{self._label} is uint8 and is fed as {self._dtype} 0..255 without scaling; if the model expects "
                "scaled input, say so in preprocess.yaml.",
            )
        fits = shape_fits(model_input.shape[1:], self._rows.shape[1:]) and len(model_input.shape) == len(
            self._rows.shape
        )
        if self.shared or (section is None and fits):
            return _as_stored, notices
        if self._is_image(model_input, section):
            image = ImageTransform(
                section or ImagePreprocess(), model_input, self._rows.shape, self._rows.dtype, self._label
            )
            return image, notices + image.notices
        if not fits:
            raise DataError(self._misfit(model_input))
        assert section is not None
        return AffineTransform(section, self._rows.shape, self._dtype, self._label), notices

    def _is_image(self, model_input: ModelInputLike, section: ImagePreprocess | None) -> bool:
        if len(model_input.shape) != 4:
            return False
        stored = self._rows.shape
        if len(stored) == 3:
            return self._rows.dtype == np.uint8 or section is not None
        if len(stored) != 4:
            return False
        if section is not None or self._rows.dtype == np.uint8:
            return True
        turned = ((stored[0], *stored[2:], stored[1]), (stored[0], stored[3], *stored[1:3]))
        return any(shape_fits(model_input.shape[1:], shape[1:]) for shape in turned)

    def _misfit(self, model_input: ModelInputLike) -> str:
        stored = self._rows.shape
        text = (
            f"{self._label} has shape {shape_text(stored)}, but the model's input '{self.name}' takes "
            f"{declared_text(model_input)}, n samples first"
        )
        if shape_fits(model_input.shape[1:], stored):
            return text + ": add the sample axis (array[None] for a single sample)."
        return text + "."


class AffineTransform:
    """x * scale + bias for an array that is no image; per-channel values run along axis 1."""

    def __init__(
        self, section: ImagePreprocess, stored_shape: tuple[int, ...], dtype: np.dtype[Any], label: str
    ) -> None:
        if section.resize or section.crop or section.layout:
            raise DataError(f"{label} has shape {shape_text(stored_shape)}: resize, crop and layout are for images.")
        channels = stored_shape[1] if len(stored_shape) > 1 else 1
        if not {len(section.scale), len(section.bias)} <= {1, channels}:
            raise DataError(f"scale and bias must have one number or {channels}, the size of axis 1 of {label}.")
        if dtype.kind != "f" and section.changes_values:
            raise DataError(f"{label} feeds an input of {dtype}: scale and bias do not apply.")
        shape = (1, -1) + (1,) * (len(stored_shape) - 2) if len(stored_shape) > 1 else (-1,)
        self._scale: npt.NDArray[Any] = np.array(section.scale, np.float32).reshape(shape)
        self._bias: npt.NDArray[Any] = np.array(section.bias, np.float32).reshape(shape)
        self._changes = section.changes_values

    def __call__(self, stored: Array) -> Array:
        """Rows of shape (b, ...), float32 when anything is to be done."""
        return stored.astype(np.float32) * self._scale + self._bias if self._changes else stored


def _as_stored(stored: Array) -> Array:
    return stored


def bind_inputs(
    arrays: Mapping[str, Rows], model_inputs: Sequence[ModelInputLike], preprocess: Preprocess
) -> tuple[tuple[Binding, ...], int, tuple[str, ...]]:
    """Bindings of all model inputs, the number of samples, and notices.

    Raises:
        DataError: when an input has no array, an array does not fit, the first dimensions disagree, there are no
            samples, or the model fixes a batch above 1.
    """
    check_sections(preprocess, model_inputs)
    names, notices = match_names(arrays, model_inputs)
    shared = {i.name for i in model_inputs if _is_shared(i, arrays[names[i.name]], model_inputs)}
    check_batch(model_inputs, shared)
    bindings = tuple(
        Binding(i, names[i.name], arrays[names[i.name]], preprocess, shared=i.name in shared) for i in model_inputs
    )
    count = count_samples({b.array_name: arrays[b.array_name].shape for b in bindings if not b.shared})
    for binding in bindings:
        notices += binding.notices
    floats = [b for b in bindings if arrays[b.array_name].dtype.kind == "f"]
    if preprocess.images is not None and len(floats) == len(bindings):
        name = bindings[0].name
        notices += (f"The preprocessing is not applied: no array is uint8; put it under '{name}:' to apply it.",)
    return bindings, count, notices


def check_sections(preprocess: Preprocess, model_inputs: Sequence[ModelInputLike]) -> None:
    """Checks that every section of its own names a model input.

    Raises:
        DataError: naming the first that does not.
    """
    known = [i.name for i in model_inputs]
    for name, _ in preprocess.inputs:
        if name not in known:
            raise DataError(f"Preprocessing names '{name}', but the model's inputs are {', '.join(known)}.")


def check_batch(model_inputs: Sequence[ModelInputLike], shared: set[str]) -> None:
    """Checks that no input fixes the number of samples above 1.

    Raises:
        DataError: naming the input.
    """
    for model_input in model_inputs:
        size = model_input.shape[0] if model_input.shape else None
        if model_input.name not in shared and isinstance(size, int) and size != 1:
            raise DataError(
                f"The model's input '{model_input.name}' fixes the batch at {size}: export it with a batch of 1 or a "
                "dynamic batch."
            )


def count_samples(shapes: Mapping[str, tuple[int, ...]]) -> int:
    """The first dimension that all arrays share.

    Raises:
        DataError: when the first dimensions disagree, or there are no samples.
    """
    if not shapes:
        raise DataError("No model input takes samples: each is a scalar or a fixed array.")
    counts = {name: shape[0] for name, shape in shapes.items()}
    if len(set(counts.values())) > 1:
        listed = ", ".join(f"'{name}' {count}" for name, count in counts.items())
        raise DataError(f"The arrays disagree about the number of samples: {listed}.")
    count = next(iter(counts.values()))
    if count == 0:
        raise DataError(f"Array '{next(iter(counts))}' is empty.")
    return count


def _is_shared(model_input: ModelInputLike, rows: Rows, model_inputs: Sequence[ModelInputLike]) -> bool:
    """A scalar, or an array exactly as fixed by the model while another input carries the samples."""
    if not model_input.shape:
        if rows.shape != ():
            raise DataError(f"The model's input '{model_input.name}' is one number, not {shape_text(rows.shape)}.")
        return True
    first = model_input.shape[0]
    others_carry = any(i.shape and (i.shape[0] == 1 or not isinstance(i.shape[0], int)) for i in model_inputs)
    return isinstance(first, int) and first != 1 and others_carry and tuple(model_input.shape) == rows.shape
