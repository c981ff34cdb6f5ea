"""ONNX Runtime's own quantization: unsigned activations, signed weights per channel, Q/DQ nodes, everything quantized.

Models of an opset without scales per channel are converted first, as its documentation advises.
"""

from __future__ import annotations

import contextlib
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from peer_arguments import Work, main

CALIBRATION = {"minmax": "MinMax", "percentile": "Percentile", "entropy": "Entropy"}
DYNAMIC = "dynamic"
FIRST_OPSET_WITH_CHANNEL_SCALES = 13


class _Reader:
    """Calibration samples one at a time, as the tool asks for them."""

    def __init__(self, work: Work) -> None:
        self._left = iter([work.sample(i) for i in range(work.samples)])

    def get_next(self) -> dict[str, Any] | None:
        return next(self._left, None)


def _load() -> Callable[[Work], str]:
    import onnxruntime
    from onnxruntime.quantization import CalibrationMethod, QuantFormat, QuantType, quantize_dynamic, quantize_static

    def quantize(work: Work) -> str:
        with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stdout(sys.stderr):
            model = str(_upgraded(work, Path(folder)))
            if work.method == DYNAMIC:
                quantize_dynamic(model, str(work.output), per_channel=True, weight_type=QuantType.QInt8)
            else:
                quantize_static(
                    model,
                    str(work.output),
                    _Reader(work),
                    quant_format=QuantFormat.QDQ,
                    activation_type=QuantType.QUInt8,
                    weight_type=QuantType.QInt8,
                    per_channel=True,
                    calibrate_method=getattr(CalibrationMethod, CALIBRATION[work.method]),
                )
        return str(onnxruntime.__version__)

    return quantize


def _upgraded(work: Work, folder: Path) -> Path:
    import onnx
    from onnx import version_converter

    model = onnx.load(str(work.model))
    opset = max(int(o.version) for o in model.opset_import if o.domain in ("", "ai.onnx"))
    if opset >= FIRST_OPSET_WITH_CHANNEL_SCALES:
        return work.model
    work.notes.append(f"opset {opset} was converted to {FIRST_OPSET_WITH_CHANNEL_SCALES} first")
    path = folder / "model.onnx"
    onnx.save(version_converter.convert_version(model, FIRST_OPSET_WITH_CHANNEL_SCALES), str(path))
    return path


if __name__ == "__main__":
    main((*CALIBRATION, DYNAMIC), _load)
