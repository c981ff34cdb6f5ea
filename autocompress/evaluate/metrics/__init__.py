"""Metrics: one file each, and the choice among them."""

from __future__ import annotations

from autocompress.evaluate.metrics.classification import Top1, Top5
from autocompress.evaluate.metrics.cosine import Cosine
from autocompress.evaluate.metrics.detection import Detections
from autocompress.evaluate.metrics.kl import Kl
from autocompress.evaluate.metrics.metric import RowMetric
from autocompress.evaluate.metrics.miou import Miou
from autocompress.evaluate.metrics.mse import Mse
from autocompress.evaluate.metrics.psnr import Psnr
from autocompress.evaluate.metrics.resolve import BUILTIN, Metric, check_metric_choice, resolve_metric
from autocompress.evaluate.metrics.spearman import Spearman, SpearmanWithin
from autocompress.evaluate.metrics.user import UserMetric, user_metric

__all__ = [
    "BUILTIN",
    "Cosine",
    "Detections",
    "Kl",
    "Metric",
    "Miou",
    "Mse",
    "Psnr",
    "RowMetric",
    "Spearman",
    "SpearmanWithin",
    "Top1",
    "Top5",
    "UserMetric",
    "check_metric_choice",
    "resolve_metric",
    "user_metric",
]
