"""Sizes of dynamic inputs: which are missing, and models with them fixed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from onnx import ModelProto

from autocompress.errors import ModelError
from autocompress.graph.batch import batch_axes
from autocompress.graph.inference import drop_annotations, element_types, infer_shapes, static_shapes
from autocompress.graph.model import copy_model
from autocompress.graph.specs import Size, TensorSpec, input_specs

__all__ = [
    "batch_axes",
    "bind",
    "bind_batch",
    "element_types",
    "fix_shapes",
    "infer_shapes",
    "missing_sizes",
    "require_sizes",
    "static_shapes",
]

Shapes = Mapping[str, Sequence[int]]


def missing_sizes(model: ModelProto, shapes: Shapes | None = None) -> tuple[str, ...]:
    """Dynamic dimensions, other than the batch, that ``shapes`` leaves open, each as "input[axis]" or "input[symbol]".

    Raises:
        ModelError: ``shapes`` does not fit the model.
    """
    return tuple(_dimension_name(spec, axis) for spec, axis in _open_dimensions(model, shapes or {}))


def require_sizes(model: ModelProto, shapes: Shapes | None = None) -> None:
    """Refuses a model with dynamic dimensions, other than the batch, whose size nobody gave.

    Raises:
        ModelError: naming the first such input and the ``--shape`` to give.
    """
    for spec, axis in _open_dimensions(model, shapes or {}):
        pattern = "x".join(str(size) if isinstance(size, int) else _placeholder(size) for size in spec.shape)
        raise ModelError(
            f"The input '{spec.name}' has a dynamic size ({_dimension_name(spec, axis)}); "
            f"give it with --shape {spec.name}:{pattern}, with numbers for the letters."
        )


def fix_shapes(model: ModelProto, shapes: Shapes) -> ModelProto:
    """A copy with fixed input sizes; a symbol fixed in one input is fixed wherever it occurs.

    Args:
        model: with any input sizes.
        shapes: input name -> every size, e.g. ``{"input": (1, 3, 224, 224)}``; other inputs stay as they are.

    Raises:
        ModelError: unknown input, another number of dimensions, a size below 1, or one that contradicts the model.
    """
    symbols = _given_symbols(input_specs(model), shapes)
    fixed = copy_model(model)
    for given in fixed.graph.input:
        for axis, size in enumerate(shapes.get(given.name, ())):
            given.type.tensor_type.shape.dim[axis].dim_value = int(size)
    return _substitute(fixed, symbols)


def bind_batch(model: ModelProto, batch: int) -> ModelProto:
    """A copy whose inputs all take ``batch`` samples; a batch that the model fixes itself must be equal.

    Raises:
        ModelError: the model was exported for another fixed batch, or the size is below 1.
    """
    if batch < 1:
        raise ModelError(f"The batch size {batch} must be at least 1.")
    specs = input_specs(model)
    axes = batch_axes(specs)
    if all(axis is None for axis in axes.values()):
        _check_fixed_batch(specs, batch)
    bound = copy_model(model)
    symbols: dict[str, int] = {}
    for spec in specs:
        axis = axes[spec.name]
        if axis is None:
            continue
        given = next(given for given in bound.graph.input if given.name == spec.name)
        given.type.tensor_type.shape.dim[axis].dim_value = batch
        size = spec.shape[axis]
        if isinstance(size, str):
            symbols[size] = batch
    return _substitute(bound, symbols)


def bind(model: ModelProto, shapes: Shapes | None = None, batch: int = 1) -> ModelProto:
    """A copy in which every input size is a number: given shapes first, then ``batch`` for what is left.

    Raises:
        ModelError: a size is missing or contradicts the model.
    """
    require_sizes(model, shapes)
    fixed = fix_shapes(model, shapes or {})
    if all(isinstance(size, int) for spec in input_specs(fixed) for size in spec.shape):
        return fixed
    return bind_batch(fixed, batch)


def _substitute(model: ModelProto, symbols: Mapping[str, int]) -> ModelProto:
    """Puts numbers for symbols in every declared shape, in place."""
    drop_annotations(model)
    for value in (*model.graph.input, *model.graph.output, *model.graph.value_info):
        for dim in value.type.tensor_type.shape.dim:
            if dim.dim_param in symbols:
                dim.dim_value = symbols[dim.dim_param]
    return model


def _open_dimensions(model: ModelProto, shapes: Shapes) -> Iterator[tuple[TensorSpec, int]]:
    specs = input_specs(model)
    symbols = _given_symbols(specs, shapes)
    axes = batch_axes(specs)
    for spec in specs:
        if spec.name in shapes:
            continue
        for axis, size in enumerate(spec.shape):
            if not isinstance(size, int) and axis != axes[spec.name] and size not in symbols:
                yield spec, axis


def _given_symbols(specs: Sequence[TensorSpec], shapes: Shapes) -> dict[str, int]:
    """The sizes that ``shapes`` gives to symbols, after checking that it fits."""
    symbols: dict[str, int] = {}
    for name, sizes in shapes.items():
        spec = _find(specs, name)
        if len(sizes) != len(spec.shape):
            raise ModelError(
                f"The input '{name}' has {len(spec.shape)} dimensions ({_text(spec.shape)}), "
                f"but {len(sizes)} were given ({_text(sizes)})."
            )
        for axis, (declared, size) in enumerate(zip(spec.shape, sizes, strict=True)):
            _check_size(name, axis, declared, int(size))
            if isinstance(declared, str) and symbols.setdefault(declared, int(size)) != size:
                raise ModelError(
                    f"The size '{declared}' is given as {symbols[declared]} and, in the input '{name}', as {size}; "
                    "give the same number in both places."
                )
    return symbols


def _check_size(name: str, axis: int, declared: Size, size: int) -> None:
    if size < 1:
        raise ModelError(f"The size {size} given for dimension {axis} of the input '{name}' must be at least 1.")
    if isinstance(declared, int) and declared != size:
        raise ModelError(
            f"The input '{name}' has the fixed size {declared} in dimension {axis}, but {size} was given; "
            "export the model with a dynamic size to change it."
        )


def _check_fixed_batch(specs: Sequence[TensorSpec], batch: int) -> None:
    fixed = next((spec.shape[0] for spec in specs if len(spec.shape) > 1), batch)
    if fixed != batch:
        raise ModelError(f"The model takes a fixed batch of {fixed}, not {batch}; export it with a dynamic batch.")


def _find(specs: Sequence[TensorSpec], name: str) -> TensorSpec:
    for spec in specs:
        if spec.name == name:
            return spec
    names = ", ".join(f"'{spec.name}'" for spec in specs)
    raise ModelError(f"The model has no input '{name}'; its inputs are {names}.")


def _dimension_name(spec: TensorSpec, axis: int) -> str:
    size = spec.shape[axis]
    return f"{spec.name}[{axis if size is None else size}]"


def _placeholder(size: Size) -> str:
    text = "".join(letter for letter in str(size or "D") if letter.isalnum() or letter == "_")
    return text.upper() or "D"


def _text(sizes: Sequence[Size]) -> str:
    return "x".join("?" if size is None else str(size) for size in sizes)
