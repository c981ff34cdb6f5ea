"""Samples: where they come from, how they become model input, how they are split."""

from __future__ import annotations

from autocompress.data.labels import as_classes, check_labels
from autocompress.data.preprocess import ImagePreprocess, Preprocess, load_preprocess, parse_preprocess
from autocompress.data.samples import ModelInput, ModelInputLike, SampleSource
from autocompress.data.spec import DataSpec, data_spec, open_source
from autocompress.data.split import Split, split_groups, split_samples

__all__ = [
    "DataSpec",
    "ImagePreprocess",
    "ModelInput",
    "ModelInputLike",
    "Preprocess",
    "SampleSource",
    "Split",
    "as_classes",
    "check_labels",
    "data_spec",
    "load_preprocess",
    "open_source",
    "parse_preprocess",
    "split_groups",
    "split_samples",
]
