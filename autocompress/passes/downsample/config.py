"""What a downsample step does, as data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from autocompress.errors import RecipeError
from autocompress.passes.config_rows import refuse_unknown


@dataclass(frozen=True)
class DownsampleConfig:
    """Configuration of a lower resolution inside the network.

    Attributes:
        height: of the image that the layers read, in pixels.
        width: the same.
        full_height: of the image that comes in, where the model declares no size; 0 where it does.
        full_width: the same.  A model that takes images of any size makes each smaller by the same factor.

    Raises:
        RecipeError: when a field has a value that it cannot have.
    """

    height: int
    width: int
    full_height: int = 0
    full_width: int = 0

    def __post_init__(self) -> None:
        for name in ("height", "width"):
            value = getattr(self, name)
            if type(value) is not int or value < 1:
                raise RecipeError(f"downsample step: {name} is {value!r}; it must be a whole number from 1 up")
        for name in ("full_height", "full_width"):
            value = getattr(self, name)
            if type(value) is not int or value < 0:
                raise RecipeError(f"downsample step: {name} is {value!r}; it must be a whole number, or 0")

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready form; a full size that nobody gave is left out."""
        return {name: value for name, value in asdict(self).items() if value}

    @classmethod
    def from_dict(cls, row: Mapping[str, Any]) -> DownsampleConfig:
        """Inverse of ``to_dict``.

        Raises:
            RecipeError: on a missing or unknown field or a wrong value.
        """
        refuse_unknown(cls, row, "downsample")
        for name in ("height", "width"):
            if name not in row:
                raise RecipeError(f"downsample step: {name} is missing; give the size of the smaller image")
        return cls(**row)
