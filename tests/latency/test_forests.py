"""Forests of a table: what they were told, what they were not, and what stands on their card."""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from autocompress.errors import TableError
from autocompress.latency.families import family_of
from autocompress.latency.features import FEATURES, features_of
from autocompress.latency.forest import fit_forests, records_by_family
from autocompress.latency.held_out import fold_of_family, held_out_predictions, predictions_without_hits
from autocompress.latency.operator_errors import SPREAD_FLOOR, UNKNOWN_FLOOR, half_width, operator_errors
from autocompress.latency.predictor import CARD, load_predictors
from autocompress.latency.table import LatencyTable
from autocompress.latency.train import train_predictors

sys.path.append(str(Path(__file__).parent))
from forest_parts import HEADER, ROOFLINE, conv, families_table, law_us, log_errors, record, relu, with_times


def saved(table: LatencyTable, folder: Path) -> Path:
    table.save(folder / f"{HEADER.stem}.jsonl")
    return folder / f"{HEADER.stem}.jsonl"


@dataclass(frozen=True)
class Trained:
    """A table and its forests, which tests only read."""

    path: Path
    folder: Path


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Trained:
    folder = tmp_path_factory.mktemp("trained")
    path = saved(families_table(), folder)
    train_predictors(path, folder / "predictors", command="autocompress predictor train t")
    return Trained(path, folder / "predictors")


def test_a_feature_row_is_of_the_documented_length() -> None:
    rows = features_of([conv(8, 20, 14), relu(1, 3), conv(16, 16, 14, groups=16)])
    assert rows.shape == (3, len(FEATURES))
    assert len(set(FEATURES)) == len(FEATURES)
    assert np.isfinite(rows).all()
    found = dict(zip(FEATURES, rows[0].tolist(), strict=True))
    assert (found["channels_in"], found["channels_out"], found["window"]) == (8, 20, 9)
    assert (found["result_channels_mod_16"], found["result_channels_pad_16"]) == (4, pytest.approx(32 / 20))


def test_channels_stand_last_where_the_runtime_says_so() -> None:
    from autocompress.graph.signature import OpSignature, TensorType

    x, y = TensorType("uint8", (1, 28, 30, 47)), TensorType("uint8", (1, 14, 15, 47))
    attributes = (("channels_last", 1), ("kernel_shape", (2, 2)), ("strides", (2, 2)))
    row = features_of([OpSignature("com.microsoft", "NhwcMaxPool", (x,), (y,), attributes)])[0]
    found = dict(zip(FEATURES, row.tolist(), strict=True))
    assert (found["channels_in"], found["operand_channels_mod_16"]) == (47, 15)
    assert (found["height"], found["width"], found["operand_plane"]) == (14, 15, 28 * 30)


def test_forests_know_the_law_of_their_family_and_say_so(trained: Trained) -> None:
    predictors = load_predictors(trained.folder, trained.path)
    asked = [conv(40, 40, 20), conv(72, 72, 28), relu(1, 40, 14, 14)]
    found = predictors.predict(asked)
    assert all(p is not None for p in found)
    assert log_errors([p.latency_us for p in found if p], [law_us(s) for s in asked]).max() < 0.1
    for prediction, signature in zip(found, asked, strict=True):
        assert prediction is not None
        assert prediction.low_us < law_us(signature) < prediction.high_us


def test_a_class_that_was_never_seen_has_a_wider_interval(trained: Trained) -> None:
    predictors = load_predictors(trained.folder, trained.path)
    known, unknown = predictors.predict([conv(40, 40, 20), conv(40, 40, 20, domain="com.microsoft.nchwc")])
    assert known is not None
    assert unknown is not None
    assert unknown.high_us / unknown.latency_us > 1.5 * known.high_us / known.latency_us


def test_a_family_without_records_has_no_forest(trained: Trained) -> None:
    predictors = load_predictors(trained.folder, trained.path)
    assert "pooling" not in predictors.families
    assert predictors.families == {family_of(conv(8, 8, 8)), family_of(relu(1, 8))}


def test_what_is_held_out_is_not_seen() -> None:
    """The times of a family's operators change nothing about what is said of them."""
    table = families_table()
    keys = frozenset(k for m in table.models.values() if m.family == "family3" for k in m.operators)
    slower = with_times(table, keys, 10.0)
    for judge in (
        lambda t: held_out_predictions(records_by_family(t, ROOFLINE), t.models),
        lambda t: predictions_without_hits(records_by_family(t, ROOFLINE), t.models)["family3"],
    ):
        before, after = judge(table), judge(slower)
        assert keys <= before.keys()
        assert all(before[key] == after[key] for key in keys)
    others = held_out_predictions(records_by_family(slower, ROOFLINE), slower.models)
    assert others != held_out_predictions(records_by_family(table, ROOFLINE), table.models)


def test_folds_keep_families_whole_and_are_about_equal() -> None:
    models = families_table(30).models
    folds = fold_of_family(models)
    assert len(folds) == 30
    sizes = np.bincount(list(folds.values()))
    assert len(sizes) == 12
    assert sizes.max() - sizes.min() <= 1
    assert len(set(fold_of_family(families_table(8).models).values())) == 8
    assert fold_of_family({}) == {}


def test_operators_of_no_model_are_held_out_by_their_weights() -> None:
    table = families_table()
    alone = LatencyTable(table.header, table)
    found = held_out_predictions(records_by_family(alone, ROOFLINE), {})
    assert found.keys() == {r.signature.key for r in alone}
    errors = operator_errors(list(alone), found)
    assert errors["conv_dense_float"].judged == errors["conv_dense_float"].rows
    assert errors["conv_dense_float"].mape < 0.1


def test_intervals_hold_for_what_was_not_seen() -> None:
    rng = np.random.default_rng(0)
    table = families_table(10, lambda s: law_us(s) * float(np.exp(rng.normal(0, 0.05))))
    errors = operator_errors(list(table), held_out_predictions(records_by_family(table, ROOFLINE), table.models))
    assert 0.85 <= errors["conv_dense_float"].interval_coverage <= 0.97
    assert errors["conv_dense_float"].within_10_percent > 0.7


def test_half_widths() -> None:
    row = {"interval_scale": 2.0, "unknown_scale": 3.0}
    assert half_width(row, 0.1, known=True) == pytest.approx(2 * (0.1 + SPREAD_FLOOR))
    assert half_width(row, 0.1, known=False) == pytest.approx(3 * (0.1 + UNKNOWN_FLOOR))


def test_the_card_says_where_the_forests_come_from_and_how_good_they_are(trained: Trained) -> None:
    path = trained.path
    card = json.loads((trained.folder / CARD).read_text())
    assert card["table"] == path.name
    assert card["command"] == "autocompress predictor train t"
    assert card["rows"] == len(LatencyTable.load(path))
    assert set(card["versions"]) == {"autocompress", "numpy", "scikit-learn", "scipy"}
    assert "date" not in card
    family = card["families"]["conv_dense_float"]
    assert family["rows"] == sum(family_of(r.signature) == "conv_dense_float" for r in LatencyTable.load(path))
    worst = [abs(np.log(case["predicted_over_measured"])) for case in family["worst"]]
    assert worst == sorted(worst, reverse=True)


def test_training_depends_on_nothing_but_table_and_seed(tmp_path: Path) -> None:
    table = families_table(4)
    path = saved(table, tmp_path)
    shuffled = LatencyTable(table.header, reversed(list(table)), dict(reversed(table.models.items())))
    (tmp_path / "other").mkdir()
    other = saved(shuffled, tmp_path / "other")
    contents = []
    for i, (which, seed) in enumerate(((path, 0), (other, 0), (path, 1))):
        train_predictors(which, tmp_path / f"p{i}", command="a test", seed=seed)
        contents.append({p.name: p.read_bytes() for p in (tmp_path / f"p{i}").iterdir()})
    assert contents[0] == contents[1]
    assert contents[0] != contents[2]


def test_an_edited_table_has_no_predictors_any_more(trained: Trained, tmp_path: Path) -> None:
    table = LatencyTable.load(trained.path)
    table.add(record(conv(9, 9, 9), 5.0))
    path = saved(table, tmp_path)
    with pytest.raises(TableError, match=rf"were not trained on {path.name} as it is now; train them again"):
        load_predictors(trained.folder, path)


def test_a_table_of_next_to_nothing_teaches_nothing(tmp_path: Path) -> None:
    path = saved(LatencyTable(HEADER, [record(conv(8, 8, 8), 1.0)]), tmp_path)
    with pytest.raises(TableError, match="too few records"):
        train_predictors(path, tmp_path / "predictors", command="a test")


def test_invalid_records_teach_nothing() -> None:
    from autocompress.latency.record import LatencyRecord

    table = families_table()
    broken = LatencyRecord(conv(9, 9, 9), 0.0, 0.0, 0.0, 0, "could not run")
    with_broken = LatencyTable(table.header, [*table, broken], table.models)
    first, second = (fit_forests(records_by_family(t, ROOFLINE)) for t in (table, with_broken))
    assert [f.rows for f in first] == [f.rows for f in second]
