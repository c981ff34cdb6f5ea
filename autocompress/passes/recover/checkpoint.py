"""The state of a training on disk: arrays in .npz, numbers in JSON inside it; no pickles."""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from autocompress.errors import StorageError
from autocompress.files import write_bytes


@dataclass
class TrainingState:
    """What it takes to go on.

    Attributes:
        numbers: JSON-ready: step, losses, who trains what (see ``same_training``).
        arrays: name -> tensors of all parameters in order ("parameters", "average", "best", "first", "second").
    """

    numbers: dict[str, Any]
    arrays: dict[str, list[torch.Tensor]]


def save_state(path: Path, state: TrainingState) -> None:
    """Writes a checkpoint; the file appears whole.

    Raises:
        StorageError: when it cannot be written.
    """
    flat = {
        f"{name}.{position}": tensor.detach().cpu().numpy()
        for name, tensors in state.arrays.items()
        for position, tensor in enumerate(tensors)
    }
    buffer = io.BytesIO()
    np.savez(buffer, numbers=np.frombuffer(json.dumps(state.numbers).encode(), np.uint8), **flat)
    write_bytes(path, buffer.getvalue())


def load_state(path: Path, identity: Mapping[str, Any]) -> TrainingState | None:
    """Reads a checkpoint, or gives None where there is none or it belongs to another training.

    Args:
        path: of the file.
        identity: must equal what the checkpoint holds under "identity".

    Raises:
        StorageError: when the file is damaged.
    """
    if not path.is_file():
        return None
    try:
        with np.load(path, allow_pickle=False) as content:
            numbers = json.loads(content["numbers"].tobytes())
            arrays: dict[str, list[torch.Tensor]] = {}
            for key in content.files:
                if key != "numbers":
                    name, position = key.rsplit(".", 1)
                    arrays.setdefault(name, []).insert(int(position), torch.from_numpy(content[key]))
    except (OSError, ValueError, KeyError, zipfile.BadZipFile) as error:
        raise StorageError(f"checkpoint {path} is damaged ({error}); delete it to start over") from error
    return TrainingState(numbers, arrays) if numbers.get("identity") == dict(identity) else None


def moments_of(optimizer: Any, parameters: Sequence[Any]) -> dict[str, list[torch.Tensor]]:
    """Adam's two moments per parameter; zeros for a parameter that has not moved yet."""
    states = [optimizer.state.get(parameter, {}) for parameter in parameters]
    return {
        kind: [state.get(key, torch.zeros_like(p)) for state, p in zip(states, parameters, strict=True)]
        for kind, key in (("first", "exp_avg"), ("second", "exp_avg_sq"))
    }


def set_moments(optimizer: Any, parameters: Sequence[Any], arrays: Mapping[str, list[torch.Tensor]], step: int) -> None:
    """Inverse of ``moments_of``."""
    for position, parameter in enumerate(parameters):
        optimizer.state[parameter] = {
            "step": torch.tensor(float(step)),
            "exp_avg": arrays["first"][position].clone(),
            "exp_avg_sq": arrays["second"][position].clone(),
        }
