"""Search spaces: what ships is valid and documented; what is wrong is refused in one sentence."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from autocompress.calibration.ranges import ALGORITHMS
from autocompress.errors import ConfigError
from autocompress.passes.quantize import PRECISIONS, QuantizeConfig
from autocompress.search import algorithms
from autocompress.search.space import SCHEME_CHOICES, STEP_CHOICES, SearchSpace, load_space, parse_space

FOLDER = Path(__file__).parents[2] / "search_spaces"
SHIPPED = sorted(path.stem for path in FOLDER.glob("*.yaml"))
README = (FOLDER / "README.md").read_text(encoding="utf-8")


def table(heading: str) -> list[list[str]]:
    """Cells of the table rows in one part of the README."""
    part = README.split("## Keys")[0 if heading == "files" else 1]
    rows = [line.strip("| ").split("|") for line in part.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in row] for row in rows[2:]]


def names(cell: str) -> list[str]:
    return re.findall(r"`([^`]+)`", cell)


def refusal(document: dict[str, Any]) -> str:
    with pytest.raises(ConfigError) as caught:
        parse_space("mine", document)
    message = str(caught.value)
    assert "\n" not in message
    assert "search space 'mine'" in message
    return message


@pytest.mark.parametrize("name", SHIPPED)
def test_shipped_spaces_are_valid(name: str) -> None:
    space = load_space(name, FOLDER)
    assert space.name == name
    assert space.description.endswith(".")
    assert load_space(str(FOLDER / f"{name}.yaml"), Path("elsewhere")) == space
    assert all(QuantizeConfig(**{field: value}) for field, values in space.scheme.items() for value in values)


def test_the_readme_lists_exactly_the_files() -> None:
    assert sorted(names(row[0])[0] for row in table("files")) == [f"{name}.yaml" for name in SHIPPED]


def test_the_readme_lists_exactly_the_keys_and_values() -> None:
    documented = {names(row[0])[0]: names(row[1]) for row in table("keys")}
    defaults = dataclasses.asdict(parse_space("empty", {}))
    known: dict[str, list[str]] = {"description": []}
    known |= {f"scheme.{key}": [str(v).lower() for v in values] for key, values in SCHEME_CHOICES.items()}
    known |= {"precision.options": list(PRECISIONS), "precision.per": ["model", "unit"]}
    known |= {f"steps.{key}": [str(v) for v in values] for key, values in STEP_CHOICES.items()}
    known |= {"recovery": []}
    known |= {"search.proposals_per_build": [], "search.screen": []}
    assert documented == known
    assert {f"scheme.{key}": [str(values[0]).lower()] for key, values in defaults["scheme"].items()} == {
        key: values[:1] for key, values in documented.items() if key.startswith("scheme.")
    }
    for key in ("proposals_per_build", "screen"):
        assert f"`search.{key}` is {defaults[key]}" in " ".join(README.split())


def test_every_range_algorithm_can_be_searched() -> None:
    assert set(SCHEME_CHOICES["activation_range"]) == set(ALGORITHMS)
    not_of_the_scheme = {"precision", "exceptions", "activation_percentile"}
    assert set(SCHEME_CHOICES) == {f.name for f in dataclasses.fields(QuantizeConfig)} - not_of_the_scheme


def test_what_is_left_out_has_one_value() -> None:
    space = parse_space("empty", {})
    assert space.scheme == {key: (values[0],) for key, values in SCHEME_CHOICES.items()}
    assert (space.precision, space.per) == (("int8",), "model")
    assert parse_space("empty", {"scheme": None, "precision": None, "search": None}) == space


def test_a_single_value_needs_no_list_and_repeats_count_once() -> None:
    space = parse_space("mine", {"scheme": {"weight_range": "mse", "activation_range": ["kl", "mse", "kl"]}})
    assert space.scheme["weight_range"] == ("mse",)
    assert space.scheme["activation_range"] == ("kl", "mse")


@pytest.mark.parametrize("name", SHIPPED)
def test_spaces_are_written_as_they_are_read(name: str) -> None:
    space = load_space(name, FOLDER)
    row = space.to_dict()
    document = {
        "description": row["description"],
        "scheme": row["scheme"],
        "precision": {"options": row["precision"], "per": row["per"]},
        "steps": {key: row[key] for key in STEP_CHOICES},
        "recovery": row["recovery"],
        "search": {key: row[key] for key in ("proposals_per_build", "screen")},
    }
    assert parse_space(name, yaml.safe_load(yaml.safe_dump(document))) == space
    assert set(row) == {f.name for f in dataclasses.fields(SearchSpace)}


@pytest.mark.parametrize(
    ("document", "said"),
    [
        ({"shceme": {}}, "did you mean 'scheme'"),
        ({"scheme": {"activation_type": ["uint8"]}}, "unknown key 'activation_type'"),
        ({"scheme": {"weight_range": ["kld"]}}, "scheme.weight_range: 'kld' is not known"),
        ({"scheme": {"weight_range": []}}, "scheme.weight_range is empty"),
        ({"scheme": {"bias_correction": [1]}}, "scheme.bias_correction: 1 is not known"),
        ({"scheme": {"bias_correction": ["yes"]}}, "'yes' is not known"),
        ({"scheme": ["uint8"]}, "scheme is ['uint8']; it must be a mapping"),
        ({"scheme": "uint8"}, "it must be a mapping"),
        ({"precision": ["int8"]}, "it must be a mapping"),
        ({"precision": {"options": ["int4"]}}, "'int4' is not known"),
        ({"precision": {"options": [{"int8": 1}]}}, "is not known"),
        ({"precision": {"per": "layer"}}, "must be 'unit' or 'model'"),
        ({"search": {"screen": 0}}, "search.screen is 0"),
        ({"search": {"screen": True}}, "search.screen is True"),
        ({"search": {"proposals_per_build": 2.5}}, "search.proposals_per_build is 2.5"),
        ({"search": {"trials": 3}}, "unknown key 'trials'"),
        ({"recovery": {"level": "full"}}, "unknown key 'level'"),
        ({"recovery": {"label_weigth": 1}}, "did you mean 'label_weight'"),
        ({"recovery": {"l1": -1}}, "recovery: recover step: l1 is -1"),
        ({"recovery": [1]}, "recovery is [1]; it must be a mapping"),
        ({3: {}}, "unknown key 3"),
    ],
)
def test_mistakes_are_named(document: dict[str, Any], said: str) -> None:
    assert said in refusal(document)


@pytest.mark.parametrize("text", ["- a\n- b\n", "", "just text", "scheme: [\n", "a: b: c", "\x00"])
def test_files_that_are_no_mapping_are_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(ConfigError, match=r"^search space [^\n]*mine.yaml (is not YAML|must be a mapping)[^\n]*$"):
        load_space(str(path), FOLDER)


def test_files_that_are_no_text_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_bytes(b"\xff\xfe\xfa")
    with pytest.raises(ConfigError, match=r"is not YAML[^\n]*$"):
        load_space(str(path), FOLDER)


@pytest.mark.parametrize("name", ["nonesuch", "nonesuch.yaml", "."])
def test_a_missing_space_names_those_there_are(name: str) -> None:
    with pytest.raises(ConfigError, match=r"one of: .*mixed_precision, ptq"):
        load_space(name, FOLDER)


def test_every_algorithm_is_in_the_table_and_can_be_searched() -> None:
    page = FOLDER.parent / "docs" / "algorithms.md"
    assert page.read_text(encoding="utf-8") == algorithms.table(), "run python -m autocompress.search.algorithms"
    choices = {"precision.options": PRECISIONS}
    choices |= {f"scheme.{key}": values for key, values in SCHEME_CHOICES.items()}
    choices |= {f"steps.{key}": values for key, values in STEP_CHOICES.items()}
    for key, listed in algorithms.names_by_key().items():
        assert set(listed) <= set(choices[key])
        assert set(choices[key]) - set(listed) <= {"none"}
