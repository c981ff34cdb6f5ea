"""Affine quantization: which integers stand for which real numbers.

    q = saturate(round_half_even(x / scale) + zero_point),    x ~ (q - zero_point) * scale

as ONNX QuantizeLinear and DequantizeLinear define it; real zero is always the integer ``zero_point``, exactly.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from autocompress.errors import ConfigError, DataError

FloatArray = npt.NDArray[np.float32]
DoubleArray = npt.NDArray[np.float64]
IntegerArray = npt.NDArray[np.integer[Any]]

GRANULARITIES = ("per_tensor", "per_channel", "per_block")

# The product of two scales (activation times weight) must still be a normal float32, so neither goes below 2**-60.
MINIMUM_SCALE = 2.0**-60
# Stands for a range of zero width: every value is zero, so any scale is exact.
ZERO_RANGE_SCALE = 1.0

_BITS = {"uint8": 8, "int8": 8, "uint16": 16, "int16": 16, "uint4": 4, "int4": 4}
# Ranges end here, so that no integer of a grid stands for more than float32 can hold.
_LARGEST = 2.0**127


@dataclass(frozen=True)
class Scheme:
    """Integer type, symmetry and granularity of a quantized tensor.

    Symmetric signed grids leave out the lowest integer (-128 for int8), so that they are symmetric in truth and
    products of two of them never overflow a saturating multiply-add.

    Attributes:
        dtype: "uint8", "int8", "uint16", "int16", "uint4" or "int4"; 4-bit integers are held one per byte.
        symmetric: zero point fixed: 0 for signed types; for unsigned types the middle of the grid, or 0 for a range
            without negative numbers.
        granularity: "per_tensor", "per_channel" (one scale per index of ``axis``) or "per_block" (one scale per
            ``block_size`` consecutive elements along ``axis``).
        axis: of the channels or blocks; None for per_tensor.
        block_size: elements that share a scale; None unless per_block.
    """

    dtype: str = "int8"
    symmetric: bool = True
    granularity: str = "per_tensor"
    axis: int | None = None
    block_size: int | None = None

    def __post_init__(self) -> None:
        if self.dtype not in _BITS:
            raise ConfigError(f"scheme: dtype is {self.dtype!r}; it must be one of {', '.join(_BITS)}")
        if self.granularity not in GRANULARITIES:
            raise ConfigError(
                f"scheme: granularity is {self.granularity!r}; it must be one of {', '.join(GRANULARITIES)}"
            )
        if self.granularity != "per_tensor" and self.axis is None:
            raise ConfigError(f"scheme: {self.granularity} needs an axis; give the axis of the channels or blocks")
        if self.granularity == "per_block" and (self.block_size is None or self.block_size < 1):
            raise ConfigError(f"scheme: per_block needs a positive block_size, not {self.block_size}")
        if self.granularity != "per_block" and self.block_size is not None:
            raise ConfigError(f"scheme: block_size is only for per_block, not for {self.granularity}")

    @property
    def bits(self) -> int:
        """Bits of one integer."""
        return _BITS[self.dtype]

    @property
    def signed(self) -> bool:
        """Whether the integers have a sign."""
        return self.dtype.startswith("int")

    @property
    def storage(self) -> np.dtype[Any]:
        """The numpy type that holds the integers: (u)int8 for 4 and 8 bits, (u)int16 for 16."""
        return np.dtype(f"{'int' if self.signed else 'uint'}{max(self.bits, 8)}")

    @property
    def dtype_min(self) -> int:
        """Lowest integer of the type."""
        return -(1 << (self.bits - 1)) if self.signed else 0

    @property
    def qmin(self) -> int:
        """Lowest integer in use."""
        return self.dtype_min + (1 if self.symmetric and self.signed else 0)

    @property
    def qmax(self) -> int:
        """Highest integer, both of the type and in use."""
        return self.dtype_min + (1 << self.bits) - 1

    def checked_axis(self, rank: int) -> int | None:
        """The axis as a number in [0, rank), or None per tensor.

        Raises:
            ConfigError: when a tensor of this rank lacks the axis.
        """
        if self.granularity == "per_tensor" or self.axis is None:
            return None
        if not -rank <= self.axis < rank:
            raise ConfigError(f"scheme: a tensor of {rank} dimensions has no axis {self.axis}")
        return self.axis % rank

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready form; ``Scheme(**row)`` is its inverse."""
        return asdict(self)


def quantization_parameters(low: float, high: float, scheme: Scheme) -> tuple[np.float32, int]:
    """Scale and zero point that cover [low, high] and represent zero exactly.

    The range is first widened to include zero.  An asymmetric zero point is rounded to an integer, which shifts the
    covered range by at most half a step.

    Args:
        low: lower end; ends beyond 2**127, infinite ones too, are taken as that.
        high: upper end, not below ``low``.
        scheme: only its dtype and symmetry matter here.

    Returns:
        The scale, a normal positive float32 of at least ``MINIMUM_SCALE`` (1 for a range of zero width), and the zero
        point, an integer of the scheme's type.

    Raises:
        DataError: when an end is NaN or ``low`` is above ``high``.
    """
    scales, zero_points = parameter_arrays(np.array([low], np.float64), np.array([high], np.float64), scheme)
    return scales[0], int(zero_points[0])


def parameter_arrays(low: DoubleArray, high: DoubleArray, scheme: Scheme) -> tuple[FloatArray, IntegerArray]:
    """``quantization_parameters`` for arrays of ranges of any (equal) shape; zero points have the storage dtype.

    Raises:
        DataError: when an end is NaN or a ``low`` is above its ``high``.
    """
    if np.isnan(low).any() or np.isnan(high).any() or (low > high).any():
        raise DataError("a quantization range is NaN or its low end is above its high end; check the calibration data")
    low = np.clip(low, -_LARGEST, 0.0)
    high = np.clip(high, 0.0, _LARGEST)
    if scheme.symmetric:
        scales, zeros = _symmetric(low, high, scheme)
    else:
        scales, zeros = _asymmetric(low, high, scheme)
    return scales, zeros.astype(scheme.storage)


def safe_scales(steps: DoubleArray) -> FloatArray:
    """Step sizes as float32 scales that are always normal and positive."""
    return np.where(steps > 0.0, np.maximum(steps, MINIMUM_SCALE), ZERO_RANGE_SCALE).astype(np.float32)


def quantize(
    array: npt.NDArray[np.floating[Any]],
    scale: npt.ArrayLike,
    zero_point: npt.ArrayLike,
    scheme: Scheme,
    *,
    full_range: bool = False,
) -> IntegerArray:
    """The integers that stand for ``array``.

    Args:
        array: real numbers of any shape.
        scale: shape () for per_tensor, (channels,) for per_channel, the array's shape with ``ceil(size / block_size)``
            along the axis for per_block.
        zero_point: integers of the shape of ``scale``.
        scheme: of the result.
        full_range: saturate to the whole integer type as a runtime's QuantizeLinear does, -128 included, instead of
            to the grid in use.

    Returns:
        Integers of ``scheme.storage`` and the array's shape.

    Raises:
        DataError: when the array holds NaN.
    """
    with np.errstate(over="ignore", invalid="ignore"):
        quotients = np.divide(array, spread(np.asarray(scale, np.float32), array.shape, scheme), dtype=np.float32)
    values = np.asarray(quotients)  # a scalar tensor gives no array
    np.rint(values, out=values)
    # Saturating before the offset keeps huge quotients exact; integers up to 2**17 are exact in float32.
    offset = spread(np.asarray(zero_point, np.float32), array.shape, scheme)
    np.clip(values, -(2.0**17), 2.0**17, out=values)
    values += offset
    np.clip(values, scheme.dtype_min if full_range else scheme.qmin, scheme.qmax, out=values)
    if np.isnan(values).any():
        raise DataError("cannot quantize NaN; remove it from the weights or the data")
    integers: IntegerArray = values.astype(scheme.storage)
    return integers


def dequantize(
    integers: npt.NDArray[Any], scale: npt.ArrayLike, zero_point: npt.ArrayLike, scheme: Scheme
) -> FloatArray:
    """The real numbers that integers stand for; shapes as in ``quantize``."""
    values = integers.astype(np.float32)
    values -= spread(np.asarray(zero_point, np.float32), integers.shape, scheme)
    values *= spread(np.asarray(scale, np.float32), integers.shape, scheme)
    return values


def spread(parameters: FloatArray, shape: tuple[int, ...], scheme: Scheme) -> FloatArray:
    """Scales or zero points in a shape that broadcasts against a tensor of ``shape``.

    Raises:
        ConfigError: when the tensor lacks the scheme's axis.
    """
    axis = scheme.checked_axis(len(shape))
    if axis is None:
        return parameters.reshape(())
    if scheme.block_size is None:
        return parameters.reshape([-1 if i == axis else 1 for i in range(len(shape))])
    whole = np.repeat(parameters, scheme.block_size, axis=axis)
    return whole[(slice(None),) * axis + (slice(shape[axis]),)]


def _symmetric(low: DoubleArray, high: DoubleArray, scheme: Scheme) -> tuple[FloatArray, DoubleArray]:
    middle = 0 if scheme.signed else 1 << (scheme.bits - 1)
    zeros = np.where(low < 0.0, float(middle), 0.0)
    scales = safe_scales(np.maximum(-low, high) / (scheme.qmax - zeros))
    return scales, zeros


def _asymmetric(low: DoubleArray, high: DoubleArray, scheme: Scheme) -> tuple[FloatArray, DoubleArray]:
    scales = safe_scales((high - low) / (scheme.qmax - scheme.qmin))
    zeros = np.clip(np.rint(scheme.qmin - low / scales), scheme.qmin, scheme.qmax)
    return scales, zeros
