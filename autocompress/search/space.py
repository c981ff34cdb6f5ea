"""A SearchSpace: which choices the search may make, read from YAML in ``search_spaces/``."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from autocompress.calibration.ranges import ALGORITHMS
from autocompress.errors import ConfigError, RecipeError
from autocompress.passes.decompose import METHODS as DECOMPOSITIONS
from autocompress.passes.downsample import METHODS as DOWNSAMPLINGS
from autocompress.passes.equalize.step import EQUALIZATIONS
from autocompress.passes.prune import CRITERIA
from autocompress.passes.quantize import PRECISIONS
from autocompress.passes.reconstruct import METHODS
from autocompress.passes.recover import RecoverConfig
from autocompress.passes.sparsify import CRITERIA as SPARSITIES

SCHEME_CHOICES: dict[str, tuple[object, ...]] = {
    "activation_dtype": ("uint8", "int8"),
    "activation_symmetric": (False, True),
    "activation_range": tuple(ALGORITHMS),
    "weight_dtype": ("int8", "uint8"),
    "weight_granularity": ("per_channel", "per_tensor"),
    "weight_range": tuple(ALGORITHMS),
    "bias_correction": (True, False),
    "product_results": ("int8", "float"),
    "scope": ("all", "weighted"),
    "float_ends": ("none", "first", "last", "both"),
    "block_size": (32, 64, 128),
    "weight_only_symmetric": (True, False),
    "weight_only_activations": ("float32", "int8"),
    "float_storage": ("float32", "float16"),
}
NONE = "none"
UNSTRUCTURED = "unstructured"
STEP_CHOICES: dict[str, tuple[object, ...]] = {
    "downsampling": (NONE, *DOWNSAMPLINGS),
    "decomposition": (NONE, *DECOMPOSITIONS),
    "pruning": (NONE, *CRITERIA),
    "sparsity": (NONE, *SPARSITIES),
    "sparsity_pattern": (NONE, UNSTRUCTURED, "2:4", "1:4"),
    "equalization": tuple(EQUALIZATIONS),
    "reconstruction": (NONE, *METHODS),
}


@dataclass(frozen=True)
class SearchSpace:
    """The choices of a search.

    Attributes:
        name: stem of its file.
        description: one sentence for people.
        scheme: field of the quantization step -> allowed values; one value per recipe.
        precision: precisions that a unit may have.
        equalization: names of the equalizations that a recipe may begin with (see ``EQUALIZATIONS``); "none" first.
        reconstruction: methods that the best candidates' weights are rounded with in the end; "none" first.
        per: "unit" (each unit has a precision of its own) or "model" (all units that can share one).
        proposals_per_build: how many proposals are scored by the predictors for each candidate that is built.
        screen: how many schemes are kept after screening by output damage.
        downsampling: interpolations by which layers may read a smaller image; "none" first.
        decomposition: methods by which layers may become smaller ones; "none" first.
        pruning: criteria by which channels may go; "none" first.
        sparsity: criteria by which single weights may become zero; "none" first.
        sparsity_pattern: where zeros may stand; "none" first, and alone where any place will do.
        recovery: settings of the training of stems (see ``RecoverConfig``), but its level and seed.
    """

    name: str
    description: str
    scheme: dict[str, tuple[object, ...]]
    precision: tuple[str, ...]
    per: str
    proposals_per_build: int = 48
    screen: int = 3
    equalization: tuple[str, ...] = ("none",)
    reconstruction: tuple[str, ...] = ("none",)
    downsampling: tuple[str, ...] = ("none",)
    decomposition: tuple[str, ...] = ("none",)
    pruning: tuple[str, ...] = ("none",)
    sparsity: tuple[str, ...] = ("none",)
    sparsity_pattern: tuple[str, ...] = ("none",)
    recovery: Mapping[str, Any] = field(default_factory=dict)

    @property
    def structural(self) -> bool:
        """Whether the float model itself may become another one."""
        steps = (*self.downsampling, *self.decomposition, *self.pruning, *self.sparsity)
        return any(name != NONE for name in steps)

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready form."""
        return {f.name: _plain(getattr(self, f.name)) for f in fields(self)}


def load_space(name_or_path: str, folder: Path) -> SearchSpace:
    """Reads a search space by its stem in ``folder`` or by path.

    Raises:
        ConfigError: when there is none, or it names an unknown choice.
    """
    import yaml

    path = Path(name_or_path)
    if path.suffix not in (".yaml", ".yml"):
        path = folder / f"{name_or_path}.yaml"
    if not path.is_file():
        known = ", ".join(sorted(p.stem for p in folder.glob("*.yaml")))
        raise ConfigError(f"no search space {name_or_path!r}; give a path to a YAML file or one of: {known}")
    try:
        document = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ConfigError(f"search space {path} is not YAML: {' '.join(str(error).split())}") from error
    if not isinstance(document, dict):
        raise ConfigError(f"search space {path} must be a mapping; see search_spaces/README.md")
    return parse_space(path.stem, document)


def parse_space(name: str, document: Mapping[str, Any]) -> SearchSpace:
    """Checks a search space given as a mapping.

    Raises:
        ConfigError: naming the key or value that is not known.
    """
    where = f"search space {name!r}"
    _known_keys(document, ("description", "scheme", "precision", "steps", "recovery", "search"), where)
    scheme = _section(document, "scheme", where)
    _known_keys(scheme, tuple(SCHEME_CHOICES), f"{where}, scheme")
    precision = _section(document, "precision", where)
    _known_keys(precision, ("options", "per"), f"{where}, precision")
    steps = _section(document, "steps", where)
    _known_keys(steps, tuple(STEP_CHOICES), f"{where}, steps")
    recovery = _recovery(_section(document, "recovery", where), where)
    search = _section(document, "search", where)
    _known_keys(search, ("proposals_per_build", "screen"), f"{where}, search")
    per = str(precision.get("per", "model"))
    if per not in ("unit", "model"):
        raise ConfigError(f"{where}: precision.per is {per!r}; it must be 'unit' or 'model'")
    return SearchSpace(
        name=name,
        description=str(document.get("description", "")),
        scheme={
            key: _values(scheme.get(key, [allowed[0]]), allowed, f"{where}, scheme.{key}")
            for key, allowed in SCHEME_CHOICES.items()
        },
        precision=tuple(
            map(str, _values(precision.get("options", ["int8"]), PRECISIONS, f"{where}, precision.options"))
        ),
        per=per,
        proposals_per_build=_positive(search.get("proposals_per_build", 48), f"{where}, search.proposals_per_build"),
        # Leaving a step out is always possible.
        **{
            key: tuple(
                dict.fromkeys([NONE, *map(str, _values(steps.get(key, NONE), allowed, f"{where}, steps.{key}"))])
            )
            for key, allowed in STEP_CHOICES.items()
        },
        screen=_positive(search.get("screen", 3), f"{where}, search.screen"),
        recovery=recovery,
    )


def _section(document: Mapping[str, Any], key: str, where: str) -> Mapping[str, Any]:
    section = document.get(key)
    if section is None:
        return {}
    if not isinstance(section, dict):
        raise ConfigError(f"{where}: {key} is {section!r}; it must be a mapping; see search_spaces/README.md")
    return section


def _recovery(section: Mapping[str, Any], where: str) -> dict[str, Any]:
    known = tuple(f.name for f in fields(RecoverConfig) if f.name not in ("level", "seed"))
    _known_keys(section, known, f"{where}, recovery")
    try:
        RecoverConfig.from_dict(section)
    except RecipeError as error:
        raise ConfigError(f"{where}, recovery: {error}") from error
    return dict(section)


def _known_keys(mapping: Mapping[str, Any], known: tuple[str, ...], where: str) -> None:
    for key in mapping:
        if key not in known:
            near = difflib.get_close_matches(str(key), known, 1)
            hint = f"did you mean {near[0]!r}?" if near else f"it must be one of {', '.join(known)}"
            raise ConfigError(f"{where}: unknown key {key!r}; {hint}")


def _values(given: object, allowed: tuple[object, ...], where: str) -> tuple[object, ...]:
    listed = given if isinstance(given, list) else [given]
    if not listed:
        raise ConfigError(f"{where} is empty; give at least one of {', '.join(map(str, allowed))}")
    for value in listed:
        if value not in allowed or isinstance(value, bool) != isinstance(allowed[0], bool):
            hint = _unquoted(value, allowed) or f"it must be one of {', '.join(map(str, allowed))}"
            raise ConfigError(f"{where}: {value!r} is not known; {hint}")
    return tuple(dict.fromkeys(listed))


def _unquoted(value: object, allowed: tuple[object, ...]) -> str:
    """Advice where YAML read a pattern such as 2:4 as a number to the base of 60; else empty."""
    if not isinstance(value, int):
        return ""
    written = f"{value // 60}:{value % 60}"
    return f'write it in quotes, as "{written}"' if written in allowed else ""


def _positive(value: object, where: str) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise ConfigError(f"{where} is {value!r}; it must be a whole number of at least 1")
    return value


def _plain(value: object) -> object:
    if isinstance(value, dict):
        return {k: _plain(v) for k, v in value.items()}
    return list(value) if isinstance(value, tuple) else value
