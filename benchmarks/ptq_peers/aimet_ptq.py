"""AIMET-ONNX: quantization simulation with its default ranges, alone, after equalization, or with AdaRound.

What ``to_onnx_qdq`` exports is judged, because that is what a user deploys.
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable

from peer_arguments import Work, main

METHODS = ("plain", "equalization", "adaround")
# The tool's own default (10,000) takes hours on two cores; results say what was used.
ADAROUND_ITERATIONS = 1000
# One scale per output channel, as the other tools have it.
CONFIGURATION = "default_config_per_channel.json"


def _load() -> Callable[[Work], str]:
    from importlib.metadata import version

    import aimet_onnx
    import onnx
    from aimet_onnx.cross_layer_equalization import equalize_model

    def quantize(work: Work) -> str:
        with contextlib.redirect_stdout(sys.stderr):
            model = onnx.load(str(work.model))
            samples = [work.sample(i) for i in range(work.samples)]
            if work.method == "equalization":
                equalize_model(model)
            simulation = aimet_onnx.QuantizationSimModel(
                model, param_type=aimet_onnx.int8, activation_type=aimet_onnx.int8
            )
            if work.method == "adaround":
                work.notes.append(f"AdaRound with {ADAROUND_ITERATIONS} iterations per layer")
                aimet_onnx.apply_adaround(simulation, samples, num_iterations=ADAROUND_ITERATIONS)
            simulation.compute_encodings(samples)
            onnx.save(simulation.to_onnx_qdq(), str(work.output))
        return version("aimet-onnx")

    return quantize


if __name__ == "__main__":
    main(METHODS, _load)
