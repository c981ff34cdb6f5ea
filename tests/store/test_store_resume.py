from __future__ import annotations

import pytest

from autocompress.errors import StorageError

CONFIG = {
    "target_speedup": 2.0,
    "max_accuracy_drop": 0.01,
    "seed": 0,
    "trials": 50,
    "shapes": {"x": "1x3x224x224"},
    "model": "a.onnx",
}


@pytest.fixture
def study(store, new_study):
    store.create_study(new_study(config=CONFIG))
    return store


@pytest.mark.parametrize(
    "changes",
    [{}, {"trials": 100}, {"workers": 4}, {"timeout": "1h"}, {"output": "elsewhere"}, {"model": "moved/a.onnx"}],
)
def test_what_decides_no_measurement_may_change(study, changes):
    study.check_resumable("mobilenet", "f" * 64, {**CONFIG, **changes})


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"target_speedup": 3.0}, r"target_speedup = 2\.0, not 3\.0"),
        ({"max_accuracy_drop": 0.02}, "max_accuracy_drop"),
        ({"seed": 1}, "seed = 0, not 1"),
        ({"shapes": {"x": "1x3x192x192"}}, r"shapes\.x = '1x3x224x224'"),
        ({"shapes": {}}, r"shapes\.x .* not nothing"),
        ({"target_size": "4x"}, "target_size = nothing, not '4x'"),
    ],
)
def test_what_decides_them_is_named(study, changes, sentence):
    with pytest.raises(StorageError, match=sentence):
        study.check_resumable("mobilenet", "f" * 64, {**CONFIG, **changes})


def test_another_model_is_named(study):
    with pytest.raises(StorageError, match=r"another model .*f{12}, now 0{12}"):
        study.check_resumable("mobilenet", "0" * 64, CONFIG)


def test_a_study_that_is_not_there(study):
    with pytest.raises(StorageError, match="no study 'x'"):
        study.check_resumable("x", "f" * 64, CONFIG)


def test_the_caller_can_choose_what_may_change(study):
    study.check_resumable("mobilenet", "f" * 64, {**CONFIG, "seed": 7}, may_change={"seed"})
    with pytest.raises(StorageError, match="trials"):
        study.check_resumable("mobilenet", "f" * 64, {**CONFIG, "trials": 7}, may_change={"seed"})
