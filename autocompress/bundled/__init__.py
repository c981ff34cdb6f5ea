"""A small trained model with data that it has never seen: what ``autocompress run`` without arguments compresses.

The files are made by ``python -m autocompress.bundled.train``; README.md beside them says when and how.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from autocompress.errors import AutocompressError

FOLDER = Path(__file__).resolve().parent


@dataclass(frozen=True)
class BundledExample:
    """Where the files of the bundled example lie.

    Attributes:
        model: the network, input ``image`` of shape (N, 1, 32, 32), output ``logits`` of shape (N, 10).
        data: .npz with ``image`` (uint8) and ``labels`` (int64) of the samples held out from training.
        preprocess: how the uint8 images become what the network takes.
    """

    model: Path
    data: Path
    preprocess: Path


def bundled_example() -> BundledExample:
    """The example that ships with the package: a ResNet for 32x32 images of handwritten digits.

    Raises:
        AutocompressError: when the installation lacks one of the files.
    """
    example = BundledExample(
        model=FOLDER / "digits_resnet.onnx", data=FOLDER / "digits.npz", preprocess=FOLDER / "preprocess.yaml"
    )
    for path in (example.model, example.data, example.preprocess):
        if not path.is_file():
            raise AutocompressError(f"The bundled file {path} is missing; reinstall autocompress.")
    return example
