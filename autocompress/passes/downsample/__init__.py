"""A smaller image inside the network: what reads the image reads it at a lower resolution, by linear interpolation.

The input keeps its size, and so do the outputs; where a network ends in a global pooling, everything between the two
gets smaller, and its time falls with the square of the resolution (Howard et al., MobileNets, arXiv 1704.04861, the
"resolution multiplier").  Weights stay as they are, so a network that saw objects of one size is asked about smaller
ones (Touvron et al., "Fixing the train-test resolution discrepancy", NeurIPS 2019): how much that costs is measured.

``find_image`` says where the image comes in, or why nothing can be done; ``downsample`` changes the model.
"""

from __future__ import annotations

from autocompress.passes.downsample.apply import DownsamplePayload, downsample
from autocompress.passes.downsample.config import DownsampleConfig
from autocompress.passes.downsample.image import Image, find_image
from autocompress.passes.downsample.sizes import smaller_sizes, stretch

LINEAR = "linear"
METHODS = (LINEAR,)
"""Interpolations."""

__all__ = [
    "LINEAR",
    "METHODS",
    "DownsampleConfig",
    "DownsamplePayload",
    "Image",
    "downsample",
    "find_image",
    "smaller_sizes",
    "stretch",
]
