"""The state of a training on disk: arrays in .npz, numbers in JSON inside it; no pickles."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from autocompress.errors import StorageError
from autocompress.files import replacing


@dataclass
class TrainingState:
    """What it takes to go on.

    Attributes:
        numbers: JSON-ready: step, losses, who trains what (see ``same_training``).
        arrays: name -> tensors, of all parameters in order ("parameters", "average", "best") or one ("first", ...).
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
    numbers = np.frombuffer(json.dumps(state.numbers).encode(), np.uint8)
    try:
        with replacing(path) as file:
            np.savez(file, numbers=numbers, **flat)
    except OSError as error:
        raise StorageError(
            f"checkpoint {path} cannot be written ({error}); choose a folder that is writable"
        ) from error


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
