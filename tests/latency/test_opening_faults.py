"""Tables and forests that do not belong together: said in one sentence, and estimates go on with what is true."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import pytest

from autocompress.latency.locate import user_cache
from autocompress.latency.opening import LatencySource, open_latency
from autocompress.latency.survey import survey
from autocompress.latency.table import LatencyTable
from autocompress.latency.train import train_predictors
from autocompress.runtimes import get_runtime

sys.path.append(str(Path(__file__).parent))
from zoo_parts import corner, executed, table_file


@pytest.fixture(scope="module")
def surveyed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A table with predictors, as they ship."""
    folder = tmp_path_factory.mktemp("shipped")
    runtime = get_runtime("replay")
    file = table_file(folder / "latency_tables", runtime)
    survey(runtime, file, models=corner("fp32", "int8")[:4])
    train_predictors(file.path, folder / "predictors" / file.path.stem, command="a test")
    return folder


@pytest.fixture
def shipped(surveyed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of it that can be spoilt; returns the table."""
    folder = shutil.copytree(surveyed, tmp_path / "shipped")
    monkeypatch.setenv("AUTOCOMPRESS_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr("autocompress.latency.locate.shipped_folder", lambda name: folder / name)
    (table,) = (folder / "latency_tables").glob("*.jsonl")
    return table


def edited(table: Path) -> str:
    """Makes one time a little longer, as a person might; returns the key of the operator."""
    lines = table.read_text().splitlines()
    record = next(record for record in LatencyTable.load(table) if record.valid)
    position = next(i for i, line in enumerate(lines) if f'"key":"{record.signature.key}"' in line)
    old = f'"median_us":{record.median_us}'
    assert old in lines[position]
    lines[position] = lines[position].replace(old, f'"median_us":{1.5 * record.median_us}')
    table.write_text("\n".join(lines) + "\n")
    return record.signature.key


def estimates_hold(source: LatencySource) -> None:
    estimator = source.estimator()
    assert estimator.estimate(executed("resnet_cifar", "int8")).coverage == pytest.approx(1.0)
    prices = estimator.price([op.signature for op in executed("resnet_cifar", "pruned")])
    assert all(price.latency_us > 0 for price in prices)
    assert "forest" in {price.source for price in prices}


def test_what_belongs_together_needs_no_words(shipped: Path) -> None:
    source = open_latency(get_runtime("replay"))
    assert source.notices == ()
    assert not source.foreign
    estimates_hold(source)


def test_forests_of_another_state_of_the_table_are_told_and_corrected(shipped: Path) -> None:
    edited(shipped)
    source = open_latency(get_runtime("replay"))
    refused, used = source.notices
    assert refused == (
        f"predictors {shipped.stem} were not trained on {shipped.name} as it is now; "
        f"train them again with `autocompress predictor train`"
    )
    assert used.startswith(f"predictors {shipped.stem} know another state of the table; they are used, corrected by")
    assert source.foreign
    estimates_hold(source)


def test_the_users_own_forests_that_are_behind_the_users_own_table_are_told(shipped: Path) -> None:
    own = user_cache() / "latency_tables" / shipped.name
    own.parent.mkdir(parents=True)
    shutil.copy(shipped, own)
    shutil.copytree(shipped.parents[1] / "predictors" / shipped.stem, user_cache() / "predictors" / shipped.stem)
    assert open_latency(get_runtime("replay")).notices == ()
    edited(own)
    source = open_latency(get_runtime("replay"))
    assert source.notices == (f"{own.name} has changed since its predictors were trained; train them again to use all",)
    estimates_hold(source)
