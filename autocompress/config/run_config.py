"""RunConfig: everything that one run was asked to do, checked, and frozen."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Self

from pydantic import BaseModel, ConfigDict, Field

from autocompress.config.options import WITH_UNITS, parse_options
from autocompress.config.quantities import SizeTarget, format_duration
from autocompress.config.shapes import Shapes, format_sizes
from autocompress.errors import ConfigError

DEFAULT_TIMEOUT_S = 600.0
DEFAULT_VERIFY_TIMEOUT_S = 120.0
DEFAULT_STORAGE = "autocompress.db"
BUNDLED_TARGET_SPEEDUP = 2.0


class RunConfig(BaseModel):
    """What ``autocompress run`` was asked to do; built from options by name, with their units.

    ``RunConfig(model="m.onnx", data="d.npz", target_speedup="2x", timeout="10m")`` reads text as the command line
    does.  ``target_latency`` ("5ms"), ``timeout`` ("10m") and ``verify_timeout`` ("90s") fill the fields that carry the
    unit in their name.

    Attributes:
        model: ONNX file, or None for the bundled example.
        data: samples: an ``.npz`` file, a folder of images, or ``module.path:function``.
        calibration_data: samples for calibration only; None takes them from ``data``.
        preprocess: YAML file that says how raw samples become model inputs.
        metric: name of a metric or ``module.path:function``; None chooses by what the data holds.
        target_speedup: baseline latency / result latency that is asked for, or None.
        target_latency_ms: latency that is asked for, or None.
        target_size: size that is asked for, or None.
        size_as: which size counts: "file" (as the runtime opens it) or "deflate" (the file compressed for transfer,
            as in .zip and .gz); None counts the file.
        max_accuracy_drop: accuracy that may be lost, absolute, in the metric's own unit.
        runtime: what will execute the result.
        threads: intra-op threads of the runtime.
        batch_size: samples per run when latency is measured.
        shapes: sizes of dynamic inputs, by input name.
        latency_table: table to use although another one fits this device better, or None; one of another device makes
            it the device that is optimized for.
        verify_command: command that times the model whose path it is given, on the device that is optimized for; None
            times on this device.
        verify_timeout_s: seconds after which one call of ``verify_command`` is ended.
        search_space: stem of a file in ``search_spaces/``, or a path.
        recovery: training of models that the search makes smaller: "none", "light", "full"; None takes "light" where
            the search space makes any.
        trials: trials after which the search stops, or None.
        timeout_s: seconds after which the search stops; None only when ``deterministic``.
        workers: child processes that build and evaluate candidates; 0 uses this process, without their protection.
        seed: of every random choice.
        deterministic: the same seed and table give the same trials and bytes; measured time steers nothing.
        study: name of the study, or None for a name made from the model's.
        storage: database file or URL that holds the study.
        resume: go on with the study instead of beginning it.
        output: folder for the results.

    Raises:
        ConfigError: when an option is unknown, unreadable, or contradicts another.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", arbitrary_types_allowed=True)

    model: Path | None = None
    data: Path | str | None = None
    calibration_data: Path | str | None = None
    preprocess: Path | None = None
    metric: str | None = None
    target_speedup: float | None = None
    target_latency_ms: float | None = None
    target_size: SizeTarget | None = None
    size_as: str | None = None
    max_accuracy_drop: float = 0.01
    runtime: str = "onnxruntime"
    threads: int = 1
    batch_size: int = 1
    shapes: Shapes = Field(default_factory=dict)
    latency_table: Path | None = None
    verify_command: str | None = None
    verify_timeout_s: float = DEFAULT_VERIFY_TIMEOUT_S
    search_space: str = "mixed_precision"
    recovery: str | None = None
    trials: int | None = None
    timeout_s: float | None = DEFAULT_TIMEOUT_S
    workers: int = 1
    seed: int = 0
    deterministic: bool = False
    study: str | None = None
    storage: str = DEFAULT_STORAGE
    resume: bool = False
    output: Path = Path("autocompress-out")

    def __init__(self, **options: object) -> None:
        super().__init__(**_checked(parse_options(options)))

    @property
    def has_target(self) -> bool:
        """Whether anything is asked for; if not, the whole front is explored."""
        return (self.target_speedup, self.target_latency_ms, self.target_size) != (None, None, None)

    def replaced(self, **options: object) -> Self:
        """A copy with some options changed, checked like any other.

        Raises:
            ConfigError: as the constructor does.
        """
        given = {name: getattr(self, name) for name in self.model_fields_set}
        return type(self)(**{**given, **parse_options(options)})

    def with_example(self, model: Path, data: Path, preprocess: Path | None) -> Self:
        """The run on the bundled example that is meant when no model is given: twice as fast unless asked otherwise.

        Raises:
            ConfigError: when samples are given without the model that they are for.
        """
        if self.data is not None or self.calibration_data is not None or self.preprocess is not None:
            raise ConfigError("data is given without a model; give MODEL too, or neither for the bundled example")
        target = {} if self.has_target else {"target_speedup": BUNDLED_TARGET_SPEEDUP}
        return self.replaced(model=model, data=data, preprocess=preprocess, **target)

    def to_options(self) -> dict[str, Any]:
        """The options that would build an equal config: plain text, numbers and mappings, without what is None."""
        given = {name: getattr(self, name) for name in type(self).model_fields}
        options = {name: value for name, value in given.items() if value is not None}
        for option, (field, _) in WITH_UNITS.items():
            if (number := options.pop(field, None)) is not None:
                options[option] = f"{number!r}ms" if option == "target_latency" else format_duration(number)
        options["shapes"] = {name: format_sizes(sizes) for name, sizes in self.shapes.items()}
        return {name: str(v) if isinstance(v, (Path, SizeTarget)) else v for name, v in options.items()}


def _checked(fields: dict[str, object]) -> dict[str, Any]:
    """Refuses combinations that contradict themselves; in a deterministic run no clock may stop the search."""
    if not fields.get("deterministic"):
        return fields
    if fields.get("trials") is None:
        raise ConfigError("deterministic needs trials, the only stop that does not depend on a clock; give trials")
    if fields.get("timeout_s") is not None:
        raise ConfigError("deterministic and timeout contradict each other; leave timeout out and give trials only")
    return {**fields, "timeout_s": None}
