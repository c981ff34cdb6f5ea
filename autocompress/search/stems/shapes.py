"""The sizes of executed operators as functions of how many units each group has lost.

A size is ``full - sum over groups of slope * removed``, because channels are counted, never multiplied.  One look at a
model in which one group alone is smaller shows the slopes of that group; after one look at each group the operators of
every combination of widths are known without building it.  Where the runtime executes other operators for other widths
(blocked layouts do), the look does not fit the full model, and the group is left to whoever builds each width.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from autocompress.graph.signature import AttributeValue, OpSignature, TensorType

Numbers = tuple[int, ...]


class OperatorShapes:
    """Operators of a model at full width, and how their sizes depend on groups.

    Args:
        signatures: of the operators at full width.
    """

    def __init__(self, signatures: Sequence[OpSignature]) -> None:
        self._full = [numbers_of(signature) for signature in signatures]
        self._signatures = list(signatures)
        self._slopes: list[dict[str, Numbers]] = [{} for _ in signatures]

    def learn(self, group: str, units: int, removed: int, signatures: Sequence[OpSignature]) -> bool:
        """Takes in a look at the model in which one group alone has lost units.

        Args:
            group: its name.
            units: of the group at full width.
            removed: number of units that are gone.
            signatures: of the operators then.

        Returns:
            Whether the sizes follow; if not, nothing was learnt.
        """
        if len(signatures) != len(self._full):
            return False
        found: dict[int, Numbers] = {}
        for position, (before, after) in enumerate(zip(self._signatures, signatures, strict=True)):
            full, now = self._full[position], numbers_of(after)
            if _skeleton(before) != _skeleton(after) or len(full) != len(now):
                return False
            differences = [a - b for a, b in zip(full, now, strict=True)]
            if any(difference % removed for difference in differences):
                return False
            if any(differences):
                found[position] = tuple(difference // removed for difference in differences)
                # A blocked layout fills 24 channels up to 32: what falls from there to 16 is more than there ever was.
                if any(size < slope * units for size, slope in zip(full, found[position], strict=True)):
                    return False
        for position, slopes in found.items():
            self._slopes[position][group] = slopes
        return True

    def touched(self, group: str) -> list[int]:
        """Positions of the operators whose sizes depend on a group."""
        return [position for position, slopes in enumerate(self._slopes) if group in slopes]

    def key(self, position: int, removed: Mapping[str, int]) -> tuple[int, ...]:
        """What an operator's sizes depend on: removed units of the groups that it follows."""
        return tuple(removed.get(group, 0) for group in self._slopes[position])

    def signature(self, position: int, removed: Mapping[str, int]) -> OpSignature:
        """An operator when groups have lost units.

        Args:
            position: of the operator.
            removed: group -> units.
        """
        numbers = list(self._full[position])
        for group, slopes in self._slopes[position].items():
            for i, slope in enumerate(slopes):
                numbers[i] -= slope * removed.get(group, 0)
        return with_numbers(self._signatures[position], numbers)

    def signatures(self, removed: Mapping[str, int]) -> list[OpSignature]:
        """All operators when groups have lost units."""
        return [
            self.signature(i, removed) if any(removed.get(group) for group in slopes) else self._signatures[i]
            for i, slopes in enumerate(self._slopes)
        ]


def numbers_of(signature: OpSignature) -> Numbers:
    """All sizes and whole-number attributes of an operator, in order."""
    numbers: list[int] = []
    for tensor in (*signature.inputs, *signature.outputs):
        numbers.extend(() if tensor is None else tensor.shape)
    for _, value in signature.attributes:
        numbers.extend(_integers(value))
    return tuple(numbers)


def with_numbers(signature: OpSignature, numbers: Sequence[int]) -> OpSignature:
    """The same operator with other sizes and attributes; the inverse of ``numbers_of``."""
    left = iter(numbers)

    def sized(tensor: TensorType) -> TensorType:
        return replace(tensor, shape=tuple(next(left) for _ in tensor.shape))

    inputs = tuple(None if tensor is None else sized(tensor) for tensor in signature.inputs)
    outputs = tuple(sized(tensor) for tensor in signature.outputs)
    attributes: list[tuple[str, AttributeValue]] = []
    for name, value in signature.attributes:
        new = tuple(next(left) for _ in _integers(value))
        attributes.append((name, value if not new else new if isinstance(value, tuple) else new[0]))
    return replace(signature, inputs=inputs, outputs=outputs, attributes=tuple(attributes))


def _integers(value: AttributeValue) -> Numbers:
    if isinstance(value, tuple):
        whole = tuple(number for number in value if isinstance(number, int))
        return whole if len(whole) == len(value) else ()
    return (value,) if isinstance(value, int) else ()


def _skeleton(signature: OpSignature) -> tuple[object, ...]:
    """What must not change with a width.  Sparsity may: it is of other channels."""
    tensors = [
        None if tensor is None else (tensor.dtype, len(tensor.shape), tensor.constant)
        for tensor in (*signature.inputs, *signature.outputs)
    ]
    attributes = [(name, None if _integers(value) else value) for name, value in signature.attributes]
    return (signature.domain, signature.op_type, tuple(tensors), tuple(attributes))
