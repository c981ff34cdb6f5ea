"""Recurrent layers, unrolled over time: RNN, GRU and LSTM in one or two directions."""

from __future__ import annotations

from collections.abc import Callable

import torch

from autocompress.graph.torch_execution.call import Call, Operator, Tensor

State = tuple[Tensor, ...]
# One step: gates from the input at this time, state before -> state after; its first part is the output.
Step = Callable[[Tensor, State], State]


def rnn(
    call: Call,
    x: Tensor,
    w: Tensor,
    r: Tensor,
    b: Tensor | None = None,
    lengths: Tensor | None = None,
    h0: Tensor | None = None,
) -> tuple[Tensor, ...]:
    """RNN with tanh."""
    _check(call, ["Tanh"])

    def step(way: int) -> Step:
        return lambda gates, state: (torch.tanh(gates + state[0] @ r[way].t()),)

    biases = _bias(b, w, r)
    return _unrolled(call, x, w, biases[0] + biases[1], r.shape[2], lengths, [h0], step)


def gru(
    call: Call,
    x: Tensor,
    w: Tensor,
    r: Tensor,
    b: Tensor | None = None,
    lengths: Tensor | None = None,
    h0: Tensor | None = None,
) -> tuple[Tensor, ...]:
    """GRU; gates in the order update z, reset r, hidden h."""
    _check(call, ["Sigmoid", "Tanh"])
    inner, outer = _bias(b, w, r)
    hidden = r.shape[2]
    reset_last = bool(call.get("linear_before_reset", 0))

    def step(way: int) -> Step:
        recurrent_zr, recurrent_h = r[way, : 2 * hidden], r[way, 2 * hidden :]
        bias_zr, bias_h = outer[way, : 2 * hidden], outer[way, 2 * hidden :]

        def advance(gates: Tensor, state: State) -> State:
            h = state[0]
            zr = torch.sigmoid(gates[:, : 2 * hidden] + h @ recurrent_zr.t() + bias_zr)
            z, reset = zr[:, :hidden], zr[:, hidden:]
            own = gates[:, 2 * hidden :]
            if reset_last:
                candidate = torch.tanh(own + reset * (h @ recurrent_h.t() + bias_h))
            else:
                candidate = torch.tanh(own + (reset * h) @ recurrent_h.t() + bias_h)
            return ((1.0 - z) * candidate + z * h,)

        return advance

    return _unrolled(call, x, w, inner, hidden, lengths, [h0], step)


def lstm(
    call: Call,
    x: Tensor,
    w: Tensor,
    r: Tensor,
    b: Tensor | None = None,
    lengths: Tensor | None = None,
    h0: Tensor | None = None,
    c0: Tensor | None = None,
    p: Tensor | None = None,
) -> tuple[Tensor, ...]:
    """LSTM; gates in the order input, output, forget, cell, with peepholes p for the first three."""
    _check(call, ["Sigmoid", "Tanh", "Tanh"])
    if call.get("input_forget", 0):
        raise call.refuse("coupled input and forget gates")
    hidden = r.shape[2]

    def step(way: int) -> Step:
        peep_i, peep_o, peep_f = p[way].split(hidden) if p is not None else (0.0, 0.0, 0.0)

        def advance(gates: Tensor, state: State) -> State:
            h, c = state
            i, o, f, cell = (gates + h @ r[way].t()).split(hidden, 1)
            new = torch.sigmoid(f + peep_f * c) * c + torch.sigmoid(i + peep_i * c) * torch.tanh(cell)
            return torch.sigmoid(o + peep_o * new) * torch.tanh(new), new

        return advance

    biases = _bias(b, w, r)
    return _unrolled(call, x, w, biases[0] + biases[1], r.shape[2], lengths, [h0, c0], step)


def _check(call: Call, activations: list[str]) -> None:
    """Only what frameworks export: the standard activations, unclipped."""
    ways = 2 if call.get("direction", "forward") == "bidirectional" else 1
    given = [name.decode() if isinstance(name, bytes) else name for name in call.get("activations") or []]
    if given and given != activations * ways:
        raise call.refuse(f"activations {', '.join(given)}")
    if call.get("clip"):
        raise call.refuse("clipped gates")


def _bias(b: Tensor | None, w: Tensor, r: Tensor) -> tuple[Tensor, Tensor]:
    """Input and recurrent biases, each of shape (directions, gates * hidden)."""
    if b is None:
        zeros = w.new_zeros(w.shape[:2])
        return zeros, zeros
    inner, outer = b.split(w.shape[1], 1)
    return inner, outer


def _unrolled(
    call: Call,
    x: Tensor,
    w: Tensor,
    bias: Tensor,
    hidden: int,
    lengths: Tensor | None,
    initial: list[Tensor | None],
    step: Callable[[int], Step],
) -> tuple[Tensor, ...]:
    """Outputs of shape (time, directions, batch, hidden), then each last state of shape (directions, batch, hidden)."""
    batch_first = bool(call.get("layout", 0))
    x = x.transpose(0, 1) if batch_first else x
    direction = call.get("direction", "forward")
    outputs: list[Tensor] = []
    finals: list[State] = []
    for way in range(w.shape[0]):
        backward = direction == "reverse" or way == 1
        gates = x @ w[way].t() + bias[way]
        state = tuple(_initial(given, way, batch_first, x, hidden) for given in initial)
        own, last = _run(gates, state, lengths, backward, step(way))
        outputs.append(own)
        finals.append(last)
    y = torch.stack(outputs, 1)
    states = [torch.stack(list(kind), 0) for kind in zip(*finals, strict=True)]
    if batch_first:
        return y.permute(2, 0, 1, 3), *(kind.transpose(0, 1) for kind in states)
    return y, *states


def _initial(given: Tensor | None, way: int, batch_first: bool, x: Tensor, hidden: int) -> Tensor:
    if given is None:
        return x.new_zeros(x.shape[1], hidden)
    return given[:, way] if batch_first else given[way]


def _run(gates: Tensor, state: State, lengths: Tensor | None, backward: bool, step: Step) -> tuple[Tensor, State]:
    """Walks over time; samples that have ended (by ``lengths``) keep their state and give zeros."""
    times = range(gates.shape[0] - 1, -1, -1) if backward else range(gates.shape[0])
    outputs: list[Tensor] = [state[0]] * gates.shape[0]
    for time in times:
        after = step(gates[time], state)
        outputs[time] = after[0]
        if lengths is not None:
            lives = (lengths > time).reshape(-1, 1)
            outputs[time] = torch.where(lives, after[0], torch.zeros_like(after[0]))
            after = tuple(torch.where(lives, new, old) for new, old in zip(after, state, strict=True))
        state = after
    return torch.stack(outputs, 0), state


OPERATORS: dict[str, Operator] = {"RNN": rnn, "GRU": gru, "LSTM": lstm}
