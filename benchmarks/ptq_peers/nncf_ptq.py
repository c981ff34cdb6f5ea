"""NNCF's post-training quantization with its defaults: mixed preset, fast bias correction."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable

from peer_arguments import Work, main


def _load() -> Callable[[Work], str]:
    import nncf
    import onnx

    def quantize(work: Work) -> str:
        with contextlib.redirect_stdout(sys.stderr):
            model = onnx.load(str(work.model))
            samples = [work.sample(i) for i in range(work.samples)]
            kind = nncf.ModelType.TRANSFORMER if work.task == "sts" else None
            quantized = nncf.quantize(
                model,
                nncf.Dataset(samples),
                preset=nncf.QuantizationPreset.MIXED,
                subset_size=work.samples,
                fast_bias_correction=True,
                model_type=kind,
            )
            onnx.save(quantized, str(work.output))
        return str(nncf.__version__)

    return quantize


if __name__ == "__main__":
    main(("fast",), _load)
