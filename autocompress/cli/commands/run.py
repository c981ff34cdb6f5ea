"""``autocompress run``: the main job."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from autocompress.cli.parameters import (
    DEFAULT_STORAGE,
    CalibrationData,
    Data,
    Json,
    Metric,
    Preprocess,
    Quiet,
    Shape,
)

_GOAL = "Goal"
_DEVICE = "Device"
_SEARCH = "Search"
_FILES = "Files"
_NOT_OPTIONS = ("config", "as_json", "quiet")


def run(
    context: typer.Context,
    model: Annotated[
        Path | None, typer.Argument(metavar="MODEL", help="ONNX file; without it, the bundled example at 2x.")
    ] = None,
    config: Annotated[
        Path | None, typer.Option("--config", metavar="PATH", help="All options as a YAML file; flags win over it.")
    ] = None,
    data: Data = None,
    calibration_data: CalibrationData = None,
    preprocess: Preprocess = None,
    metric: Metric = None,
    target_speedup: Annotated[
        str | None,
        typer.Option(
            "--target-speedup", metavar="FACTOR", help="How many times faster: 2, 2x, 2.5x.", rich_help_panel=_GOAL
        ),
    ] = None,
    target_latency: Annotated[
        str | None,
        typer.Option(
            "--target-latency", metavar="TIME", help="Latency to reach: 5ms, 800us, 1.2s.", rich_help_panel=_GOAL
        ),
    ] = None,
    target_size: Annotated[
        str | None,
        typer.Option(
            "--target-size", metavar="SIZE", help="Times smaller (4x) or size to reach (10MB).", rich_help_panel=_GOAL
        ),
    ] = None,
    size_as: Annotated[
        str | None,
        typer.Option(
            "--size-as",
            metavar="KIND",
            help="Which size counts: file (as the runtime opens it; what is done unless given) or deflate (the file "
            "compressed for transfer, as in .zip and .gz).",
            rich_help_panel=_GOAL,
        ),
    ] = None,
    max_accuracy_drop: Annotated[
        str | None,
        typer.Option(
            "--max-accuracy-drop",
            metavar="DROP",
            help="Accuracy that may be lost, absolute, in the metric's own unit; 1% means 0.01.",
            show_default="1%",
            rich_help_panel=_GOAL,
        ),
    ] = None,
    runtime: Annotated[
        str | None,
        typer.Option(
            "--runtime",
            metavar="NAME",
            help="What executes the result.",
            show_default="onnxruntime",
            rich_help_panel=_DEVICE,
        ),
    ] = None,
    threads: Annotated[
        int | None,
        typer.Option(
            "--threads", metavar="N", help="Intra-op threads of the runtime.", show_default="1", rich_help_panel=_DEVICE
        ),
    ] = None,
    batch_size: Annotated[
        int | None,
        typer.Option(
            "--batch-size",
            metavar="N",
            help="Samples per run where time is measured.",
            show_default="1",
            rich_help_panel=_DEVICE,
        ),
    ] = None,
    shapes: Shape = None,
    latency_table: Annotated[
        Path | None,
        typer.Option(
            "--latency-table",
            metavar="PATH",
            help="Use this table. One of another device makes it the device that is optimized for: nothing is timed "
            "here then, and speed is estimated, not verified, unless --verify-command is given.",
            rich_help_panel=_DEVICE,
        ),
    ] = None,
    verify_command: Annotated[
        str | None,
        typer.Option(
            "--verify-command",
            metavar="COMMAND",
            help="Times original and finalists on the device that counts, such as 'ssh board bench {model}': takes the "
            'path of a model, prints JSON such as {"latency_ms": 3.2}.',
            rich_help_panel=_DEVICE,
        ),
    ] = None,
    verify_timeout: Annotated[
        str | None,
        typer.Option(
            "--verify-timeout",
            metavar="TIME",
            help="Time after which one call of the verify command counts as hung.",
            show_default="2m",
            rich_help_panel=_DEVICE,
        ),
    ] = None,
    search_space: Annotated[
        str | None,
        typer.Option(
            "--search-space",
            metavar="NAME",
            help="Stem of a file in search_spaces/, or a path.",
            show_default="mixed_precision",
            rich_help_panel=_SEARCH,
        ),
    ] = None,
    recovery: Annotated[
        str | None,
        typer.Option(
            "--recovery",
            metavar="LEVEL",
            help="Training without labels, of models that lose channels or rank and of quantized models at the end: "
            "none (closed form only), light (minutes; what is done unless given), full (longer). The time it takes is "
            "said beforehand.",
            rich_help_panel=_SEARCH,
        ),
    ] = None,
    trials: Annotated[
        int | None,
        typer.Option("--trials", metavar="N", help="Trials after which the search stops.", rich_help_panel=_SEARCH),
    ] = None,
    timeout: Annotated[
        str | None,
        typer.Option(
            "--timeout",
            metavar="TIME",
            help="Time after which the search stops: 10m, 90s, 1h30m, or seconds.",
            show_default="10m",
            rich_help_panel=_SEARCH,
        ),
    ] = None,
    workers: Annotated[
        int | None,
        typer.Option(
            "--workers",
            metavar="N",
            help="Child processes that build and evaluate candidates.",
            show_default="1",
            rich_help_panel=_SEARCH,
        ),
    ] = None,
    seed: Annotated[
        int | None,
        typer.Option(
            "--seed", metavar="N", help="Seed of every random choice.", show_default="0", rich_help_panel=_SEARCH
        ),
    ] = None,
    deterministic: Annotated[
        bool | None,
        typer.Option(
            "--deterministic/--no-deterministic",
            help="Same seed, table and --trials give the same trials and the same bytes.",
            rich_help_panel=_SEARCH,
            show_default=False,
        ),
    ] = None,
    study: Annotated[
        str | None,
        typer.Option("--study", metavar="NAME", help="Name of the study.", rich_help_panel=_FILES),
    ] = None,
    storage: Annotated[
        str | None,
        typer.Option(
            "--storage",
            metavar="PLACE",
            help="Study database: an SQLite file or a database URL.",
            show_default=DEFAULT_STORAGE,
            rich_help_panel=_FILES,
        ),
    ] = None,
    resume: Annotated[
        bool | None,
        typer.Option(
            "--resume/--no-resume",
            help="Go on with the study instead of beginning it.",
            rich_help_panel=_FILES,
            show_default=False,
        ),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            metavar="FOLDER",
            help="Folder for the results.",
            show_default="autocompress-out",
            rich_help_panel=_FILES,
        ),
    ] = None,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Find, build and verify a faster model.

    Searches for compressed forms of MODEL that keep within the accuracy budget, measures them on this device, and
    writes the best to the output folder with its recipe, its report and its study.  Without any target the whole
    front of speed against accuracy is explored.  Ctrl-C stops and keeps the best verified so far.

    Exit code 0: the target is met, and verified by timing; 4: met by the estimate only (--latency-table of another
    device without --verify-command); 3: not reached.
    """
    import autocompress.api as api
    from autocompress.cli.output import print_result, stdout_reserved
    from autocompress.cli.progress import progress_on_stderr
    from autocompress.config import load_config
    from autocompress.report.terminal import show_summary

    settings = load_config(config, _given(context.params))
    with stdout_reserved(), progress_on_stderr(quiet=quiet) as progress:
        result = api.compress(settings, progress=progress)
    print_result(result.summary, show_summary, as_json=as_json)
    raise typer.Exit(result.exit_code)


def _given(parameters: Mapping[str, Any]) -> dict[str, Any]:
    """The flags that were given; a flag that may be repeated and was not is an empty sequence."""
    flags = {name: value for name, value in parameters.items() if name not in _NOT_OPTIONS}
    return {name: value for name, value in flags.items() if value is not None and value not in ((), [])}
