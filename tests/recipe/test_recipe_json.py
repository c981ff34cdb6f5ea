"""recipe.json: exact, stable, and refused in one sentence when it is not what it claims."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from autocompress.calibration.ranges import ALGORITHMS
from autocompress.errors import RecipeError
from autocompress.passes.quantize import PRECISIONS, QuantizeConfig, QuantizePayload
from autocompress.recipe.arrays import decode_array, encode_array
from autocompress.recipe.document import FORMAT_VERSION, from_document, to_document
from autocompress.recipe.files import read_recipe, to_json, write_recipe
from autocompress.recipe.packed import digest_of
from autocompress.recipe.recipe import FrozenRecipe, Recipe

FLOATS = st.floats(allow_nan=False, allow_infinity=False)
CONFIGS = st.builds(
    QuantizeConfig,
    activation_dtype=st.sampled_from(["uint8", "int8"]),
    activation_symmetric=st.booleans(),
    activation_range=st.sampled_from(sorted(ALGORITHMS)),
    weight_dtype=st.sampled_from(["uint8", "int8"]),
    weight_granularity=st.sampled_from(["per_channel", "per_tensor"]),
    weight_range=st.sampled_from(sorted(ALGORITHMS)),
    bias_correction=st.booleans(),
    precision=st.sampled_from(PRECISIONS),
    exceptions=st.dictionaries(st.text(max_size=5), st.sampled_from(PRECISIONS)).map(lambda d: tuple(d.items())),
)
PAYLOADS = st.builds(
    QuantizePayload,
    ranges=st.dictionaries(st.text(max_size=5), st.tuples(FLOATS, FLOATS).map(lambda p: (min(p), max(p)))),
    biases=st.dictionaries(
        st.text(max_size=5), arrays.arrays(np.float32, st.integers(0, 4), elements=st.floats(width=32))
    ),
)


def frozen() -> FrozenRecipe:
    config = QuantizeConfig(activation_range="percentile", exceptions=(("head", "fp32"), ("stem", "fp32")))
    payload = QuantizePayload({"x": (-1.5, 0.1), "y": (0.0, 6.0)}, {"stem": np.array([0.1, -2.5, 1e-30], np.float32)})
    return FrozenRecipe(Recipe(config), "f" * 64, "onnxruntime", {"quantize": payload})


def read(tmp_path: Path, document: object) -> FrozenRecipe:
    path = tmp_path / "recipe.json"
    path.write_text(document if isinstance(document, str) else json.dumps(document), encoding="utf-8")
    return read_recipe(path)


def refusal(tmp_path: Path, document: object) -> str:
    with pytest.raises(RecipeError) as caught:
        read(tmp_path, document)
    message = str(caught.value)
    assert "\n" not in message
    return message


@given(config=st.none() | CONFIGS, payload=st.none() | PAYLOADS)
def test_round_trip_is_exact_to_the_bit(config: QuantizeConfig | None, payload: QuantizePayload | None) -> None:
    recipe = FrozenRecipe(Recipe(config), "abc", "onnxruntime", {"quantize": payload} if config and payload else {})
    back = from_document(json.loads(to_json(recipe)))
    assert (back.recipe, back.model_fingerprint, back.runtime) == (recipe.recipe, "abc", "onnxruntime")
    assert back.recipe.hash == recipe.recipe.hash
    assert to_json(back) == to_json(recipe)
    if recipe.payload is None:
        assert back.payload is None
        return
    assert back.payload is not None
    assert {n: tuple(map(float.hex, r)) for n, r in back.payload.ranges.items()} == {
        n: tuple(map(float.hex, r)) for n, r in recipe.payload.ranges.items()
    }
    assert {n: b.tobytes() for n, b in back.payload.biases.items()} == {
        n: b.tobytes() for n, b in recipe.payload.biases.items()
    }


@given(
    arrays.arrays(
        st.sampled_from([np.float32, np.float64, np.int8, np.uint8, np.int32, np.int64, np.dtype(">f4")]),
        arrays.array_shapes(min_dims=0, max_dims=3, max_side=4),
    )
)
def test_arrays_round_trip(array: np.ndarray) -> None:
    back = decode_array(json.loads(json.dumps(encode_array(array))))
    assert back.shape == array.shape
    assert back.dtype == array.dtype.newbyteorder("=")
    assert back.tobytes() == array.astype(array.dtype.newbyteorder("=")).tobytes()


@pytest.mark.parametrize(
    "row",
    [
        {"dtype": "object", "shape": [1], "base64": "AAAAAAAAAAA="},
        {"dtype": "float32", "shape": [2], "base64": "AAAA"},
        {"dtype": "float32", "shape": [2], "base64": "AAAAAA=="},
        {"dtype": "float32", "shape": [1], "base64": "not base64!"},
        {"dtype": "nothing", "shape": [1], "base64": "AAAAAA=="},
        {"shape": [1], "base64": "AAAAAA=="},
    ],
)
def test_malformed_arrays_are_errors(row: dict[str, Any]) -> None:
    with pytest.raises((KeyError, TypeError, ValueError)):
        decode_array(row)


@given(config=CONFIGS)
def test_the_hash_does_not_depend_on_order(config: QuantizeConfig) -> None:
    steps = Recipe(config).to_steps()
    shuffled = [dict(reversed(list(step.items()))) for step in steps]
    row = shuffled[1]["config"]
    shuffled[1]["config"] = {
        name: dict(reversed(list(value.items()))) if name == "exceptions" else value
        for name, value in reversed(list(row.items()))
    }
    assert Recipe.from_steps(shuffled).hash == Recipe(config).hash


def test_the_hash_tells_choices_apart() -> None:
    recipes = [
        Recipe(),
        Recipe(QuantizeConfig()),
        Recipe(QuantizeConfig(weight_range="mse")),
        Recipe(QuantizeConfig(precision="fp32")),
        Recipe(QuantizeConfig(exceptions=(("a", "fp32"),))),
        Recipe(QuantizeConfig(exceptions=(("b", "fp32"),))),
    ]
    assert len({recipe.hash for recipe in recipes}) == len(recipes)


def test_the_hash_is_the_same_in_every_version() -> None:
    # Studies on disk know recipes by their hash.
    assert Recipe().hash == "f1a775c78d30"
    assert frozen().recipe.hash == "2b371392f8f5"


def test_edited_choices_are_refused(tmp_path: Path) -> None:
    document = to_document(frozen())[0]
    document["steps"][1]["config"]["weight_range"] = "mse"
    assert "edited" in refusal(tmp_path, document)
    del document["hash"]
    assert read(tmp_path, document).recipe.quantize.weight_range == "mse"


def test_edited_data_are_refused(tmp_path: Path) -> None:
    document = to_document(frozen())[0]
    document["data"]["ranges"]["x"][1] = 0.2
    assert "edited" in refusal(tmp_path, document)
    del document["data_hash"]
    assert read(tmp_path, document).payload.ranges["x"] == (-1.5, 0.2)


def test_newer_formats_are_refused(tmp_path: Path) -> None:
    assert "newer" in refusal(tmp_path, {**to_document(frozen())[0], "autocompress_recipe": FORMAT_VERSION + 1})


@pytest.mark.parametrize(
    "text",
    ["", "{", "[]", "null", '"recipe"', "\x00", "[" * 100_000, "{}", '{"steps": []}', '{"autocompress_recipe": true}'],
)
def test_files_that_are_no_recipe_are_refused(tmp_path: Path, text: str) -> None:
    refusal(tmp_path, text)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("autocompress_recipe", 0),
        ("autocompress_recipe", "1"),
        ("steps", None),
        ("steps", {"step": "fold"}),
        ("steps", ["fold"]),
        ("steps", [{"step": "quantize", "config": {}}]),
        ("steps", [{"step": "fold"}, {"step": "prune"}]),
        ("steps", [{"step": "fold", "level": 2}]),
        ("steps", [{"step": "fold"}, {"step": "quantize"}]),
        ("steps", [{"step": "fold"}, {"step": "quantize", "config": []}]),
        ("steps", [{"step": "fold"}, {"step": "quantize", "config": {"bits": 8}}]),
        ("steps", [{"step": "fold"}, {"step": "quantize", "config": {"weight_dtype": ["int8"]}}]),
        ("model_fingerprint", None),
        ("runtime", 3),
        ("data", []),
        ("data", {"ranges": {}}),
        ("data", {"ranges": [], "biases": {}}),
        ("data", {"ranges": {"x": [0]}, "biases": {}}),
        ("data", {"ranges": {"x": [0, "much"]}, "biases": {}}),
        ("data", {"ranges": {"x": [1, 0]}, "biases": {}}),
        ("data", {"ranges": {"x": [0, float("nan")]}, "biases": {}}),
        ("data", {"ranges": {"x": [0, float("inf")]}, "biases": {}}),
        ("data", {"ranges": {"x": [0, 10**400]}, "biases": {}}),
        ("data", {"ranges": {}, "biases": {"u": "AAAA"}}),
        ("data", {"ranges": {}, "biases": {"u": {"dtype": "float32", "shape": [9**99], "base64": "AAAAAA=="}}}),
        ("data", {"ranges": {}, "biases": {"u": {"dtype": "O", "shape": [1], "base64": "AAAAAAAAAAA="}}}),
    ],
)
def test_malformed_documents_are_refused(tmp_path: Path, key: str, value: object) -> None:
    document = {**to_document(frozen())[0], key: value}
    del document["hash"], document["data_hash"]
    refusal(tmp_path, document)


def test_files_that_cannot_be_read_are_refused(tmp_path: Path) -> None:
    for path in (tmp_path / "missing.json", tmp_path):
        with pytest.raises(RecipeError, match=r"^cannot read the recipe [^\n]*$"):
            read_recipe(path)
    (tmp_path / "binary.json").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(RecipeError, match=r"is not JSON [^\n]*$"):
        read_recipe(tmp_path / "binary.json")


def test_a_recipe_without_data_or_hash_is_read(tmp_path: Path) -> None:
    written_by_hand = {"autocompress_recipe": 1, "steps": [{"step": "fold"}, {"step": "quantize", "config": {}}]}
    recipe = read(tmp_path, written_by_hand)
    assert recipe == FrozenRecipe(Recipe(QuantizeConfig()), "", "onnxruntime")


def test_integers_that_are_not_the_nearest_ones_lie_beside_the_text(tmp_path: Path) -> None:
    known = frozen().payloads["quantize"]
    integers = {"w": np.array([[-128, 127], [3, 4]], np.int8), "a": np.array([7], np.uint8)}
    payload = QuantizePayload(known.ranges, known.biases, integers)
    written = write_recipe(dataclasses.replace(frozen(), payloads={"quantize": payload}), tmp_path / "recipe.json")
    assert [path.name for path in written] == ["recipe.npz", "recipe.json"]
    back = read_recipe(tmp_path / "recipe.json").payload
    assert back is not None
    assert back.ranges == payload.ranges
    assert {name: (values.dtype, values.tolist()) for name, values in back.integers.items()} == {
        name: (values.dtype, values.tolist()) for name, values in integers.items()
    }
    document = json.loads((tmp_path / "recipe.json").read_text())
    assert document["autocompress_recipe"] == FORMAT_VERSION
    with np.load(tmp_path / "recipe.npz") as archive:
        changed = {name: archive[name].astype(np.float32) for name in archive.files}
    document["data"]["arrays"] = digest_of(changed)
    del document["data_hash"]
    with pytest.raises(RecipeError, match="no array of integers"):
        from_document(document, changed)
