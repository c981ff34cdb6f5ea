"""Distributions with known answers, and quantization written a second time, without the package."""

from __future__ import annotations

import numpy as np

N = 20_000


def make(name: str) -> np.ndarray:
    """float32 values of one distribution; always the same."""
    rng = np.random.default_rng(7)
    gauss = rng.standard_normal(N)
    values = {
        "gauss": gauss,
        "shifted": gauss * 0.7 + 1.3,
        "laplace": rng.laplace(size=N),
        "relu": np.maximum(gauss, 0.0),
        "negative": -np.abs(rng.laplace(size=N)),
        "swish": 3 * gauss / (1 + np.exp(-3 * gauss)),
        "relu6": np.clip(3 * gauss, 0.0, 6.0),
        "heavy": rng.standard_t(3, size=N),
        "outlier": np.concatenate([gauss, [80.0]]),
        "large": gauss * 1e30,
        "small": gauss * 1e-12,
        "constant": np.full(100, 5.0),
        "negative_constant": np.full(100, -0.37),
        "single": np.array([0.3]),
        "zeros": np.zeros(50),
        "denormal": np.array([1e-40, -2e-40, 3e-39]),
        "two_values": np.repeat([-1.0, 7.0], 50),
    }[name]
    return np.asarray(values, np.float32)


CONTINUOUS = ("gauss", "shifted", "laplace", "relu", "negative", "swish", "relu6", "heavy", "outlier", "large", "small")
DEGENERATE = ("constant", "negative_constant", "single", "zeros", "denormal", "two_values")


def quantized(values: np.ndarray, low: float, high: float, bits: int, mirrored: bool) -> np.ndarray:
    """Nearest grid points in float64: affine over [low, high], or mirrored without the lowest integer."""
    x = values.astype(np.float64)
    if mirrored:
        steps = 2 ** (bits - 1) - 1
        step = max(-low, high) / steps
        return np.clip(np.round(x / step), -steps, steps) * step
    step = (high - low) / (2**bits - 1)
    zero = np.round(-low / step)
    return (np.clip(np.round(x / step) + zero, 0, 2**bits - 1) - zero) * step
