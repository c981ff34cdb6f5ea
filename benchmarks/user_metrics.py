"""Metrics as users of ``autocompress run --metric user_metrics:NAME`` write them: ``function(outputs, data)``.

``outputs`` maps the model's outputs to arrays over the samples in order; ``data`` holds the arrays of the data file for
the same samples.  Higher is better; fractions, except decibels.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
from metrics_detection import decode_yolox, mean_average_precision, suppress

Arrays = Mapping[str, npt.NDArray[Any]]
NO_BOX = -1


def map50(outputs: Arrays, data: Arrays) -> float:
    """Mean average precision at an overlap of one half of a YOLOX detector.

    ``data["boxes"]`` has shape (n, most, 5): class, x1, y1, x2, y2 in input pixels; unused rows have class ``NO_BOX``.
    """
    (raw,) = outputs.values()
    images = []
    for one, boxes in zip(raw, data["boxes"], strict=True):
        true = boxes[boxes[:, 0] != NO_BOX].astype(np.float64)
        images.append((suppress(decode_yolox(one)), true))
    return mean_average_precision(images)


def sentence_spearman(outputs: Arrays, data: Arrays) -> float:
    """Rank correlation of the cosine of two sentences' embeddings with how alike people found them.

    ``data["groups"]`` and ``data["member"]`` (0 or 1), shape (n,), say which sentences belong together,
    ``data["score"]`` what people said; a pair of which one sentence is missing does not count.
    """
    from scipy.stats import spearmanr

    (embedding,) = outputs.values()
    first, second = _paired_rows(data["groups"], data["member"])
    unit = embedding / np.maximum(np.linalg.norm(embedding, axis=1, keepdims=True), 1e-12)
    cosine = (unit[first].astype(np.float64) * unit[second]).sum(axis=1)
    return float(spearmanr(cosine, data["score"][first]).statistic)


def psnr_db(outputs: Arrays, data: Arrays) -> npt.NDArray[np.float64]:
    """Peak signal-to-noise ratio per image in decibels against ``data["clean"]`` (uint8), shape (n,)."""
    (restored,) = outputs.values()
    clean = data["clean"].astype(np.float64) / 255
    error = (np.clip(restored, 0.0, 1.0) - clean).reshape(len(clean), -1)
    decibels: npt.NDArray[np.float64] = -10 * np.log10((error**2).mean(axis=1))
    return decibels


def _paired_rows(pair: npt.NDArray[Any], member: npt.NDArray[Any]) -> tuple[list[int], list[int]]:
    """Rows of the first and of the second sentence of every whole pair; a pair drawn twice counts twice."""
    rows: dict[int, tuple[list[int], list[int]]] = {}
    for row, (p, m) in enumerate(zip(pair, member, strict=True)):
        rows.setdefault(int(p), ([], []))[int(m)].append(row)
    whole = [both for a, b in rows.values() for both in zip(a, b, strict=False)]
    return [first for first, _ in whole], [second for _, second in whole]
