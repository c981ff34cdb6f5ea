"""What every runtime gives: load and run a model, show it as executed, say how it wants Q/DQ placed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt

from autocompress.graph.signature import OpSignature

Array = npt.NDArray[np.generic]
Feeds = Mapping[str, Array]


@dataclass(frozen=True)
class InputSpec:
    """One model input (or output) as the runtime reports it.

    Attributes:
        name: tensor name.
        dtype: numpy-style name.
        shape: an int where fixed, a str (symbolic name) or None where dynamic.
    """

    name: str
    dtype: str
    shape: tuple[int | str | None, ...]


@dataclass(frozen=True)
class SessionOptions:
    """How a model is loaded.

    Attributes:
        threads: intra-op threads (inter-op is always 1).
        spinning: whether worker threads may busy-wait between runs; off where two sessions share cores.
        optimize: False keeps the graph as given (for one-operator models cut from an optimized graph).
    """

    threads: int = 1
    spinning: bool = False
    optimize: bool = True


class Session(Protocol):
    """A loaded model.

    Attributes:
        inputs: what it is fed.
        outputs: what it returns.
        clock: what ``time_runs`` reads: "cpu" (CPU time of the calling thread), "wall", or "replay" (no real clock).
    """

    inputs: tuple[InputSpec, ...]
    outputs: tuple[InputSpec, ...]
    clock: str

    def run(self, feeds: Feeds) -> dict[str, Array]:
        """Runs once; returns every output by name.

        Raises:
            RuntimeFailure: when the runtime fails.
        """
        ...

    def time_runs(self, feeds: Feeds, runs: int = 1) -> float:
        """Runs ``runs`` times and returns the seconds that one run took on average, by ``clock``.

        Raises:
            RuntimeFailure: when the runtime fails.
        """
        ...


@dataclass(frozen=True)
class ExecutedOp:
    """One operator of the graph as the runtime really executes it.

    Attributes:
        name: the runtime's name for it (unique within the model).
        signature: what determines its time.
        sources: names of nodes or tensors of the given model that it stands for, best match first; may be empty.
        standalone: a serialized one-operator model that the same runtime can load with ``optimize=False`` and time
            alone, or None where the runtime cannot cut it out or times in place (``InPlaceRuntime``).  Inputs that are
            activations are graph inputs; weights are initializers.
        reads: names of the activations that it reads, as other operators write them; empty where the runtime does not
            tell.
        writes: names of its results.
    """

    name: str
    signature: OpSignature
    sources: tuple[str, ...] = ()
    standalone: bytes | None = field(default=None, repr=False, compare=False)
    reads: tuple[str, ...] = field(default=(), repr=False, compare=False)
    writes: tuple[str, ...] = field(default=(), repr=False, compare=False)


@dataclass(frozen=True)
class ChannelPadding:
    """When zero channels at the input make an integer convolution of one group faster.

    It has to be one whose signed weights have zero points of zero, and whose input was float before it was quantized.

    Attributes:
        inputs: number of which its input channels are made a multiple.
        outputs: number of which its output channels must be a multiple.
        least_outputs: output channels that it must have at least.
        most_zeros: products with added zeros, for one number of the result, that cost less than what is gained.
        between: integer types in which Pad may stand between Quantize and Dequantize and leave the kernel whole; in
            others it stands before the Quantize, in float.
    """

    inputs: int
    outputs: int
    least_outputs: int
    most_zeros: int
    between: frozenset[str]


@dataclass(frozen=True)
class QuantizationRules:
    """Which int8 patterns the runtime fuses, so that Q/DQ are placed only where they pay.

    Attributes:
        weighted_ops: op types whose constant weight is quantized and that become one integer kernel.
        joint_ops: weightless op types with an integer kernel of their own (own output range).
        transparent_ops: op types that only move data; their output shares the range of their input.
        fused_activations: activations that vanish into the requantization of the op before them.
        dynamic_ops: op types with a dynamic-activation integer kernel.
        requantized_ops: op types whose float form the runtime quantizes on its own where it stands between a
            Dequantize with one scale and a Quantize; behind a Dequantize with a scale per channel it stays float.
        computed_activations: activations that the integer kernel before them computes itself, whatever its result is
            then quantized to; each as the op types it is written in, in graph order.
        float_result_ops: op types whose integer kernel can write float, so that its result is quantized only where
            int8 is read.
        bias_adds: whether the Add of a constant after a MatMul with a constant is part of its integer kernel.
        following_ops: those of ``joint_ops`` that are int8 only as part of the kernel of a weighted operator before
            them, and compute in float everywhere else.
        centred_ops: op types with an integer kernel only for int8 activations whose zero point is zero (MatMul: where
            both operands are activations).
        weight_dtypes: integer types of weights that have integer kernels.  Four-bit ones are read as eight-bit ones
            (a Cast of a constant, done once at load), where those have kernels.
        activation_dtypes: integer types of activations that have integer kernels.
        lifted_bias: whether the Add of a bias vector behind a product is merged with it into a float Gemm, and is not
            when the bias has as many dimensions as the result ([1, 1, N]); the product may then write float.
        weight_only_ops: op types whose constant matrix may stay in integers while activations stay float.
        uneven_concat_ops: op types that cannot read, in integers whose zero point is not zero, what a Concat has joined
            along another axis than the last.
        unsigned_concat_ops: op types that compute wrongly from signed activations that a Concat has joined.
        weight_only_form: how such a matrix is written: "matmul_nbits" (ONNX Runtime's operator of that name) or
            "dequantize" (DequantizeLinear by blocks of rows, standard from operator set 21 on).
        table_ops: op types that pick rows of a constant matrix, which may be integers then.
        least_results: (op type, low, high) of integer kernels that compute wrongly where the range of their result is
            narrower than this.
        channel_padding: when zero channels make a convolution faster; None where they never do.
    """

    weighted_ops: frozenset[str]
    joint_ops: frozenset[str]
    transparent_ops: frozenset[str]
    fused_activations: frozenset[str]
    dynamic_ops: frozenset[str]
    requantized_ops: frozenset[str] = frozenset()
    computed_activations: frozenset[tuple[str, ...]] = frozenset()
    float_result_ops: frozenset[str] = frozenset()
    bias_adds: bool = False
    following_ops: frozenset[str] = frozenset()
    centred_ops: frozenset[str] = frozenset()
    weight_dtypes: frozenset[str] = frozenset({"int8", "uint8"})
    activation_dtypes: frozenset[str] = frozenset({"uint8", "int8"})
    lifted_bias: bool = False
    weight_only_ops: frozenset[str] = frozenset()
    weight_only_form: str = "matmul_nbits"
    uneven_concat_ops: frozenset[str] = frozenset()
    unsigned_concat_ops: frozenset[str] = frozenset()
    table_ops: frozenset[str] = frozenset()
    least_results: tuple[tuple[str, float, float], ...] = ()
    channel_padding: ChannelPadding | None = None


@runtime_checkable
class Runtime(Protocol):
    """Loads, runs, shows and times models.  Implementations hold no per-model state."""

    name: str
    version: str
    quantization: QuantizationRules

    def load(self, model: bytes | str, options: SessionOptions = SessionOptions()) -> Session:
        """Loads a model from serialized bytes or from a path (needed for external data).

        Raises:
            RuntimeFailure: when the runtime refuses it, with the runtime's reason in one sentence.
        """
        ...

    def executed_ops(
        self, model: bytes | str, feeds: Feeds, *, threads: int = 1, standalone: bool = True
    ) -> Sequence[ExecutedOp]:
        """The optimized graph as executed on ``feeds``, in execution order, with concrete shapes.

        Raises:
            RuntimeFailure: when the runtime refuses the model.
        """
        ...

    def replicate(self, standalone: bytes, copies: int) -> bytes:
        """A model that runs the operator of a one-operator model ``copies`` times, each with weights of its own.

        The difference in time between two numbers of copies is what the operator costs without what a run costs, with
        weights as cold as they are inside a large model.  Load it with ``optimize=False``.
        """
        ...


@dataclass(frozen=True)
class OpTime:
    """The time of one operator within a run of its model.

    Attributes:
        op: the operator.
        latency_us: the runtime's own account of one execution, averaged over runs and corrected for rounding.
        resolution_us: how finely that account counts; a shorter operator's time is known no better than this.
    """

    op: ExecutedOp
    latency_us: float
    resolution_us: float


@runtime_checkable
class InPlaceRuntime(Runtime, Protocol):
    """A runtime that cannot run one operator alone as it runs it within a model, but accounts for each in place."""

    def time_in_place(
        self, model: bytes | str, feeds: Feeds, *, threads: int = 1, budget_s: float = 0.5
    ) -> Sequence[OpTime]:
        """Loads the model with accounting on, runs it for about ``budget_s`` and returns every executed operator.

        Raises:
            RuntimeFailure: when the runtime refuses the model or fails.
        """
        ...
