"""Reasons that lie in an operator itself: its arithmetic, its size, its channels, its integer form."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from autocompress.api.explain import words
from autocompress.api.explain.channels import IN, OUT, OddChannels, odd_channels
from autocompress.api.explain.executed import INTEGERS, KERNEL, LAYOUT, PricedOp, activations
from autocompress.api.explain.given import GivenModel
from autocompress.api.explain.reason import Reason
from autocompress.graph.signature import OpSignature, TensorType
from autocompress.latency.estimator import BOUND, LatencyEstimator
from autocompress.runtimes.work import bytes_touched, convolution_kernel, tensor_bytes

_NEAR_MEMORY = 2.0  # times what moving the bytes takes, up to which an operator counts as bound by memory
_FEW_NODES = 5.0  # times the cost of an operator that does nothing, up to which an operator counts as small
_IDLE = 0.15  # part of the best throughput below which a kernel's arithmetic counts as idle
_FEW_MACS_PER_BYTE = 16.0
_WASTE = 0.1  # how much more a channel costs than at the next multiple before that is worth a word
_CLEARLY = 1.1  # another scheme is worth a word if it is faster by more
_SCHEMES = (("uint8", "int8"), ("int8", "int8"), ("uint8", "uint8"))  # activations and weights that recipes can ask for
_SIDES = {OUT: "output channel", IN: "input channel"}


def stays_float(op: PricedOp, given: GivenModel, runtime: str, *, quantized: bool) -> Reason | None:
    """Why an operator computes in float."""
    if op.role == LAYOUT or op.family == "view":
        return None
    if given.has_integer_kernel(op) is False:
        stays = "stays in float" if quantized else "would stay in float in int8"
        return Reason("no_integer_kernel", f"{stays}: {runtime} has no integer kernel for {given.kind(op)}")
    if not quantized or op.role != KERNEL:
        return None
    missing = given.missing_conversions(op)
    if missing is None:
        return Reason("stays_float", "stays in float")
    if missing:
        return Reason("stays_float", f"stays in float: {words.few(missing)}")
    activation = given.activation_before_quantize(op)
    if activation is not None:
        text = f"stays in float: its {activation} stands before the QuantizeLinear and the runtime did not take it in"
        return Reason("not_fused", text)
    return Reason("not_fused", "stays in float although it stands between conversions: the runtime did not fuse it")


def padding(op: PricedOp, given: GivenModel) -> Reason | None:
    """Channels that the runtime adds to fill its blocks and computes for nothing."""
    kernel, asked = convolution_kernel(op.signature), given.output_channels(op)
    if kernel is None or asked is None or asked >= kernel.shape[0]:
        return None
    return Reason(
        "padded_channels", f"computes {kernel.shape[0]} channels where the model has {asked}, to fill its blocks"
    )


def limit(op: PricedOp, estimator: LatencyEstimator) -> Reason | None:
    """What bounds an operator other than arithmetic, and what int8 could save of it."""
    roofline, signature = estimator.roofline, op.signature
    throughput = roofline.int8_gmacs if op.integer else roofline.float_gmacs
    compute_us = op.macs / (throughput * 1e3)
    memory_us = bytes_touched(signature) / (roofline.gbytes_per_s * 1e3)
    spent_us = op.price.latency_us
    if is_small(op, estimator):
        return Reason("small", f"small: most of its {words.time(spent_us)} is the fixed cost of an operator")
    if memory_us <= compute_us or spent_us > _NEAR_MEMORY * memory_us + node_us(estimator):
        return None
    n_bytes = words.size(bytes_touched(signature))
    moved = f"moving its {n_bytes} takes {words.time(memory_us)} of {words.time(spent_us)}"
    if memory_us > spent_us:
        moved = f"it does little but move {n_bytes}"
    if op.integer:
        return Reason("memory_bound", f"memory-bound already: {moved}")
    saved = bytes_touched(signature) / max(_int8_bytes(signature), 1)
    return Reason("memory_bound", f"memory-bound: {moved}; int8 can at most save the bytes ({saved:.1f}x)")


def idle_arithmetic(op: PricedOp, estimator: LatencyEstimator) -> Reason | None:
    """An integer kernel that is far from what the device multiplies at best, and what in its shape tells why."""
    if not op.integer or op.role != KERNEL:
        return None
    reached, peak = op.macs / op.price.latency_us / 1e3, estimator.roofline.int8_gmacs
    if reached > _IDLE * peak:
        return None
    return Reason("idle_arithmetic", f"reaches {reached:.3g} of {peak:.3g} GMAC/s{shape_of_idleness([op])}")


def shape_of_idleness(ops: Sequence[PricedOp]) -> str:
    """What in the shape of kernels leaves integer arithmetic idle, in brackets; "" where nothing does."""
    if all(op.family == "conv_depthwise" for op in ops):
        return " (depthwise: no sum over channels, which is what integer dot products are fast at)"
    intensity = sum(op.macs for op in ops) / max(sum(bytes_touched(op.signature) for op in ops), 1)
    if intensity < _FEW_MACS_PER_BYTE:
        return f" (with {intensity:.2g} multiply-adds per byte, arithmetic is not what it waits for)"
    return ""


def is_small(op: PricedOp, estimator: LatencyEstimator) -> bool:
    """Whether the fixed cost of an operator is most of what this one takes."""
    return op.price.latency_us < _FEW_NODES * node_us(estimator)


def other_scheme(op: PricedOp, estimator: LatencyEstimator) -> Reason | None:
    """Whether the same integer kernel would be faster with unsigned activations or signed weights."""
    if not op.integer:
        return None
    given = activations(op.signature)[0].dtype
    weights = [t for t in op.signature.inputs if t is not None and t.constant and len(t.shape) >= 2]
    if given not in INTEGERS or not weights:
        return None
    now = estimator.price([op.signature])[0]
    schemes = [scheme for scheme in _SCHEMES if scheme != (given, weights[0].dtype)]
    prices = {s: estimator.price([_with_scheme(op.signature, *s)])[0] for s in schemes}
    scheme, best = min(prices.items(), key=lambda item: item[1].latency_us)
    if BOUND in (now.source, best.source) or best.latency_us * _CLEARLY >= now.latency_us or best.high_us >= now.low_us:
        return None
    return Reason(
        "scheme",
        f"{given} activations with {weights[0].dtype} weights take a slow kernel here: {scheme[0]} with {scheme[1]} "
        f"would take {words.price(best)} instead of {words.time(now.latency_us)}",
    )


def channels(op: PricedOp, estimator: LatencyEstimator) -> list[Reason]:
    """Odd numbers of channels, with what the neighbouring multiples would cost.

    Where they are a multiple of 4 at least, only if each channel costs clearly more than at the next multiple.
    """
    found = odd_channels(op.signature, estimator)
    return [Reason("channels", _channel_text(f)) for f in found if f.channels % 4 or f.waste >= _WASTE]


def _channel_text(found: OddChannels) -> str:
    neighbours = [n for n in (found.below, found.above) if n is not None]
    prices = ", ".join(f"{n.channels} would take {words.price(n.price)}" for n in neighbours)
    side = _SIDES.get(found.side, "channel")
    odd = f"{words.plural(found.channels, side)}, no multiple of {found.step}"
    dear = f" ({found.waste:.0%} more per channel than {found.above.channels})" if found.waste >= _WASTE else ""
    return f"{odd}: {words.time(found.now.latency_us)}{dear}; {prices}"


def node_us(estimator: LatencyEstimator) -> float:
    """What an operator costs that does nothing."""
    nothing = OpSignature("", "Relu", (TensorType("float32", (1,)),), (TensorType("float32", (1,)),))
    price = estimator.price([nothing])[0]
    return price.latency_us if price.source != BOUND else estimator.roofline.launch_us


def _int8_bytes(signature: OpSignature) -> int:
    """Bytes of the same operator with 8-bit activations and weights."""
    operands = [t for t in (*signature.inputs, *signature.outputs) if t is not None]
    return sum(tensor_bytes(replace(t, dtype="uint8") if t.dtype.startswith("float") else t) for t in operands)


def _with_scheme(signature: OpSignature, activation: str, weight: str) -> OpSignature:
    """The same kernel with other types of activations and weights; zero points have the type of what they belong to."""

    def changed(t: TensorType) -> TensorType:
        if t.dtype not in ("uint8", "int8"):
            return t
        if t.constant and len(t.shape) >= 2:
            return replace(t, dtype=weight)
        if not t.constant:
            return replace(t, dtype=activation)
        return replace(t, dtype=weight if t.shape else activation)

    inputs = tuple(t if t is None else changed(t) for t in signature.inputs)
    weight_at = max(range(len(inputs)), key=lambda i: inputs[i].elements if inputs[i] and inputs[i].constant else 0)  # type: ignore[union-attr]
    zero_at = weight_at + 2  # scale, then zero point
    if zero_at < len(inputs) and (zero := inputs[zero_at]) is not None and zero.dtype in ("uint8", "int8"):
        inputs = (*inputs[:zero_at], replace(zero, dtype=weight), *inputs[zero_at + 1 :])
    return replace(signature, inputs=inputs, outputs=tuple(changed(t) for t in signature.outputs))
