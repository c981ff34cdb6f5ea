"""Flags that several commands share, each described once."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

Json = Annotated[
    bool, typer.Option("--json", help="Print one JSON document on standard output, everything else on standard error.")
]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Show no progress and no notices, only the result.")]
RuntimeName = Annotated[str, typer.Option("--runtime", metavar="NAME", help="What executes the model.")]
Threads = Annotated[
    int, typer.Option("--threads", metavar="N", min=1, max=1024, help="Intra-op threads of the runtime.")
]
BatchSize = Annotated[
    int, typer.Option("--batch-size", metavar="N", min=1, help="Samples per run where time is measured.")
]
Shape = Annotated[
    list[str] | None,
    typer.Option(
        "--shape", metavar="NAME:SIZES", help="Sizes of a dynamic input, as NAME:1x3x224x224; once per input."
    ),
]
LatencyTablePath = Annotated[
    Path | None,
    typer.Option("--latency-table", metavar="PATH", help="Use this table although it may not fit this device."),
]
Seed = Annotated[int, typer.Option("--seed", metavar="N", min=0, help="Seed of every random choice.")]
Data = Annotated[
    str | None,
    typer.Option(
        "--data", metavar="SOURCE", help="Samples: an .npz file, a folder of images, or module.path:function."
    ),
]
CalibrationData = Annotated[
    str | None,
    typer.Option("--calibration-data", metavar="SOURCE", help="Samples for calibration only; default: from --data."),
]
Preprocess = Annotated[
    Path | None,
    typer.Option("--preprocess", metavar="PATH", help="YAML file that says how raw samples become model inputs."),
]
Metric = Annotated[
    str | None,
    typer.Option(
        "--metric",
        metavar="NAME",
        help="top1, top5, mse, psnr, cosine, detections, kl, miou, spearman, or module.path:function; default: by what "
        "the data holds.",
    ),
]
Storage = Annotated[
    str, typer.Option("--storage", metavar="PLACE", help="Study database: an SQLite file or a database URL.")
]
Study = Annotated[str, typer.Argument(metavar="STUDY", help="Name of the study.")]
Model = Annotated[Path, typer.Argument(metavar="MODEL", help="ONNX file.")]

DEFAULT_STORAGE = "autocompress.db"
"""The same place as ``autocompress.config.DEFAULT_STORAGE``, which is too heavy to import before a command runs."""
