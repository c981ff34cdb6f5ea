"""Recovery: closed form, distillation, what it keeps, what it refuses."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper

from autocompress.errors import DataError, RecipeError, StorageError
from autocompress.graph.torch_execution.torch_graph import TorchGraph
from autocompress.passes.recover import RecoverConfig, RecoverPayload, expected_seconds, recover, resolve
from autocompress.passes.recover.augmentation import augmented
from autocompress.passes.recover.closed_form import reconstruct_layers
from autocompress.passes.recover.end_to_end import Distillation
from autocompress.passes.recover.pair import Pair
from autocompress.passes.recover.samples import Samples
from autocompress.progress import NullProgress

torch.set_num_threads(1)
RNG = np.random.default_rng(5)
IMAGES = RNG.normal(size=(96, 3, 8, 8)).astype(np.float32)
FAST = RecoverConfig(
    level="light", steps=60, batch_size=16, learning_rate=0.02, held_out=0.25, augment=False, bfloat16=False
)


def residual_network(width: int = 6, seed: int = 0) -> onnx.ModelProto:
    """Two residual blocks with an inner width of their own, then pooling and a classifier."""
    rng = np.random.default_rng(seed)
    stored: list[TensorProto] = []

    def conv(x: str, y: str, into: int, out: int) -> onnx.NodeProto:
        weight = rng.normal(size=(out, into, 3, 3), scale=(2 / (9 * into)) ** 0.5).astype(np.float32)
        stored.append(numpy_helper.from_array(weight, f"{y}.weight"))
        stored.append(numpy_helper.from_array(rng.normal(size=out, scale=0.1).astype(np.float32), f"{y}.bias"))
        return helper.make_node("Conv", [x, f"{y}.weight", f"{y}.bias"], [y], name=f"conv_{y}", pads=[1] * 4)

    nodes = [conv("x", "s", 3, 8), helper.make_node("Relu", ["s"], ["h0"], name="r0")]
    for i in (1, 2):
        nodes += [
            conv(f"h{i - 1}", f"a{i}", 8, width),
            helper.make_node("Relu", [f"a{i}"], [f"b{i}"], name=f"ra{i}"),
            conv(f"b{i}", f"c{i}", width, 8),
            helper.make_node("Add", [f"h{i - 1}", f"c{i}"], [f"d{i}"], name=f"add{i}"),
            helper.make_node("Relu", [f"d{i}"], [f"h{i}"], name=f"rb{i}"),
        ]
    stored.append(numpy_helper.from_array(rng.normal(size=(8, 4)).astype(np.float32), "fc.weight"))
    stored.append(numpy_helper.from_array(np.zeros(4, np.float32), "fc.bias"))
    nodes += [
        helper.make_node("GlobalAveragePool", ["h2"], ["p"], name="pool"),
        helper.make_node("Flatten", ["p"], ["f"], name="flat"),
        helper.make_node("Gemm", ["f", "fc.weight", "fc.bias"], ["y"], name="fc"),
    ]
    graph = helper.make_graph(
        nodes,
        "residual",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", 3, 8, 8])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["N", 4])],
        stored,
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def changed(model: onnx.ModelProto, change: dict[str, np.ndarray]) -> onnx.ModelProto:
    return recover(model, FAST, RecoverPayload(change))


def weight(model: onnx.ModelProto, name: str) -> np.ndarray:
    return next(numpy_helper.to_array(w) for w in model.graph.initializer if w.name == name)


def masked(model: onnx.ModelProto) -> onnx.ModelProto:
    """Two of six inner channels of both blocks are silenced."""
    change = {}
    for name in ("a1", "a2"):
        kernel, bias = weight(model, f"{name}.weight").copy(), weight(model, f"{name}.bias").copy()
        kernel[[1, 4]], bias[[1, 4]] = 0, 0
        change |= {f"{name}.weight": kernel, f"{name}.bias": bias}
    return changed(model, change)


def batches(size: int = 32, images: np.ndarray = IMAGES):
    def one_pass() -> Iterator[dict[str, np.ndarray]]:
        for start in range(0, len(images), size):
            yield {"x": images[start : start + size]}

    return one_pass


def error(model: onnx.ModelProto, teacher: onnx.ModelProto, seed: int = 9) -> float:
    """Mean squared difference of the outputs on images that recovery has not seen."""
    x = {"x": np.random.default_rng(seed).normal(size=(64, 3, 8, 8)).astype(np.float32)}
    with torch.no_grad():
        return float((TorchGraph(model)(x)["y"] - TorchGraph(teacher)(x)["y"]).square().mean())


TEACHER = residual_network()
STUDENT = masked(TEACHER)


class Notes(NullProgress):
    def __init__(self) -> None:
        self.notices: list[str] = []
        self.details: list[str] = []
        self.steps = 0

    def notice(self, text: str) -> None:
        self.notices.append(text)

    def detail(self, text: str) -> None:
        self.details.append(text)

    def advance(self, n: int = 1) -> None:
        self.steps += n


def test_closed_form_brings_most_of_the_error_back() -> None:
    payload = resolve(STUDENT, TEACHER, RecoverConfig(level="closed_form"), batches())
    recovered = recover(STUDENT, RecoverConfig(level="closed_form"), payload)
    assert error(recovered, TEACHER) < 0.5 * error(STUDENT, TEACHER)
    assert "conv_c1" in payload.history["reconstructed_layers"]
    assert "conv_s" not in payload.history["reconstructed_layers"]  # its input and weights are the teacher's


def test_closed_form_solves_a_linear_layer_exactly() -> None:
    """A layer that was merely damaged, with its inputs intact, is found again."""
    damaged = changed(TEACHER, {"fc.weight": weight(TEACHER, "fc.weight") + 0.3, "fc.bias": np.ones(4, np.float32)})
    config = RecoverConfig(level="closed_form", ridge=1e-9)
    recovered = recover(damaged, config, resolve(damaged, TEACHER, config, batches()))
    assert error(recovered, TEACHER) < 1e-6 * error(damaged, TEACHER)


def test_reconstruction_equals_numpy_least_squares() -> None:
    """The same rows, solved by an independent road."""
    damaged = changed(TEACHER, {"c1.weight": weight(TEACHER, "c1.weight") * 0.5})
    pair = Pair(damaged, TEACHER, RecoverConfig())
    samples = Samples(batches(), pair.specs)
    fitted = samples.split(0.25, 0)[0]
    x, y = (TorchGraph(m).run({"x": IMAGES[fitted]}, ["b1", "c1"]) for m in (damaged, TEACHER))
    patches = torch.nn.functional.unfold(x["b1"], 3, padding=1).transpose(1, 2).reshape(-1, 54).detach().numpy()
    rows = np.concatenate([patches, np.ones((len(patches), 1))], 1).astype(np.float64)
    wanted = y["c1"].detach().permute(0, 2, 3, 1).reshape(-1, 8).numpy()
    solution = np.linalg.lstsq(rows, wanted, rcond=None)[0]
    changed_layers = reconstruct_layers(pair, samples, RecoverConfig(ridge=1e-12), NullProgress())
    assert changed_layers[0] == "conv_c1"
    own = pair.student.weights["c1.weight"].detach().reshape(8, 54).numpy().T
    np.testing.assert_allclose(own, solution[:54], atol=2e-4)


def test_end_to_end_distillation_recovers_and_keeps_zeros() -> None:
    payload = resolve(STUDENT, TEACHER, replace(FAST, closed_form=False), batches())
    recovered = recover(STUDENT, FAST, payload)
    assert error(recovered, TEACHER) < 0.6 * error(STUDENT, TEACHER)
    assert payload.history["loss_after"] < payload.history["loss_before"]
    assert payload.history["features"] == ["h1", "h2"]
    for name in ("a1", "a2"):
        assert not weight(recovered, f"{name}.weight")[[1, 4]].any()
        assert not weight(recovered, f"{name}.bias")[[1, 4]].any()
        assert np.count_nonzero(weight(recovered, f"{name}.weight")) == 4 * 8 * 9
    assert weight(recovered, "fc.bias").any()  # a bias that merely begins at zero is learned


@pytest.mark.parametrize("distillation", ["block_wise", "layer_wise"])
def test_part_wise_distillation_recovers(distillation: str) -> None:
    config = replace(FAST, distillation=distillation, closed_form=False, steps=200)
    payload = resolve(STUDENT, TEACHER, config, batches())
    assert payload.history["loss_after"] < payload.history["loss_before"]
    recovered = recover(STUDENT, config, payload)
    assert error(recovered, TEACHER) < 0.8 * error(STUDENT, TEACHER)
    assert not weight(recovered, "a1.weight")[[1, 4]].any()


def test_unstructured_zeros_survive_every_level() -> None:
    kernel = weight(TEACHER, "c1.weight").copy()
    kernel[np.random.default_rng(0).random(kernel.shape) < 0.5] = 0
    sparse = changed(TEACHER, {"c1.weight": kernel})
    recovered = recover(sparse, FAST, resolve(sparse, TEACHER, FAST, batches()))
    assert not weight(recovered, "c1.weight")[kernel == 0].any()
    assert error(recovered, TEACHER) < error(sparse, TEACHER)


def test_narrower_students_are_recovered_by_common_tensors() -> None:
    """A physically pruned student: inner tensors differ in shape, joints do not."""
    narrow = residual_network(width=4)
    kept = [0, 2, 3, 5]
    change = {w.name: numpy_helper.to_array(w) for w in TEACHER.graph.initializer}
    for i in (1, 2):
        change[f"a{i}.weight"], change[f"a{i}.bias"] = change[f"a{i}.weight"][kept], change[f"a{i}.bias"][kept]
        change[f"c{i}.weight"] = change[f"c{i}.weight"][:, kept]
    pruned = changed(narrow, change)
    assert error(pruned, TEACHER) == pytest.approx(error(STUDENT, TEACHER), rel=1e-4)
    recovered = recover(pruned, FAST, resolve(pruned, TEACHER, FAST, batches()))
    assert error(recovered, TEACHER) < 0.5 * error(pruned, TEACHER)


def test_recovery_is_repeatable_and_applies_without_data() -> None:
    first, second = (resolve(STUDENT, TEACHER, FAST, batches()) for _ in range(2))
    applied = [recover(STUDENT, FAST, payload).SerializeToString() for payload in (first, second)]
    assert applied[0] == applied[1]
    assert recover(STUDENT, RecoverConfig(level="none"), first).SerializeToString() == STUDENT.SerializeToString()


def test_losses_are_chosen_by_what_the_teacher_gives() -> None:
    def kind(scale: float, config: RecoverConfig = FAST) -> str:
        teacher = changed(TEACHER, {"fc.weight": weight(TEACHER, "fc.weight") * scale})
        pair = Pair(teacher, teacher, config)
        return Distillation(pair, Samples(batches(), pair.specs), config).losses["y"].kind

    assert kind(20.0) == "kl"
    assert kind(0.01) == "mse"
    assert kind(20.0, replace(FAST, output_loss="mse")) == "mse"


def test_a_student_that_equals_its_teacher_has_no_loss_and_stays() -> None:
    config = replace(FAST, steps=5, learning_rate=1e-12)
    payload = resolve(TEACHER, TEACHER, config, batches())
    assert payload.history["loss_before"] == pytest.approx(0.0, abs=1e-6)
    assert payload.history["reconstructed_layers"] == []


def test_divergence_goes_back_to_good_weights_and_says_so() -> None:
    notes = Notes()
    config = replace(FAST, closed_form=False)
    poisoned = IMAGES.copy()
    last = Samples(batches(), Pair(STUDENT, TEACHER, config).specs).split(config.held_out, config.seed)[0][-1]
    poisoned[last] = np.nan  # one training image, which comes once in every pass
    payload = resolve(STUDENT, TEACHER, config, batches(images=poisoned), progress=notes)
    assert any("back to the last good weights" in text for text in notes.notices)
    assert payload.weights
    assert all(np.isfinite(array).all() for array in payload.weights.values())
    assert payload.history["loss_after"] < payload.history["loss_before"]


def test_ctrl_c_keeps_the_best(monkeypatch: pytest.MonkeyPatch) -> None:
    real = Distillation.learn

    def interrupted(self: Distillation, step: int) -> float:
        if step == 40:
            raise KeyboardInterrupt
        return real(self, step)

    monkeypatch.setattr(Distillation, "learn", interrupted)
    notes = Notes()
    payload = resolve(STUDENT, TEACHER, replace(FAST, closed_form=False), batches(), progress=notes)
    assert payload.history["steps"] == 40
    assert payload.history["loss_after"] < payload.history["loss_before"]
    assert "stopped after 40 steps" in notes.notices[-1]
    assert error(recover(STUDENT, FAST, payload), TEACHER) < error(STUDENT, TEACHER)


def test_an_interrupted_training_goes_on_where_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = replace(FAST, closed_form=False)
    whole = resolve(STUDENT, TEACHER, config, batches())
    real = Distillation.learn
    seen: list[int] = []

    def killed(self: Distillation, step: int) -> float:
        seen.append(step)
        if step == 30 and len(seen) < 40:
            raise RuntimeError("power failure")
        return real(self, step)

    monkeypatch.setattr(Distillation, "learn", killed)
    place = tmp_path / "recovery.npz"
    with pytest.raises(RuntimeError, match="power"):
        resolve(STUDENT, TEACHER, config, batches(), checkpoint=place)
    monkeypatch.setattr(Distillation, "learn", real)
    notes = Notes()
    resumed = resolve(STUDENT, TEACHER, config, batches(), checkpoint=place, progress=notes)
    assert notes.steps == 60
    assert resumed.history["steps"] == 60
    assert resumed.history["loss_after"] == pytest.approx(whole.history["loss_after"], rel=1e-4)


def test_checkpoints_of_other_trainings_are_not_used_and_damage_is_named(tmp_path: Path) -> None:
    place = tmp_path / "recovery.npz"
    config = replace(FAST, closed_form=False, steps=10)
    resolve(STUDENT, TEACHER, config, batches(), checkpoint=place)
    other = Notes()
    resolve(STUDENT, TEACHER, replace(config, learning_rate=1e-3), batches(), checkpoint=place, progress=other)
    assert other.steps == 10
    with np.load(place, allow_pickle=False) as content:
        assert json.loads(content["numbers"].tobytes())["identity"]["config"]["learning_rate"] == 1e-3
    place.write_bytes(place.read_bytes()[:100])
    with pytest.raises(StorageError, match=r"recovery\.npz is damaged"):
        resolve(STUDENT, TEACHER, config, batches(), checkpoint=place)


def test_the_deadline_ends_training() -> None:
    payload = resolve(STUDENT, TEACHER, replace(FAST, steps=10**6, closed_form=False), batches(), deadline_s=1.0)
    assert 0 < payload.history["steps"] < 10**5
    assert payload.history["seconds"] < 10


def test_patience_ends_training() -> None:
    config = replace(FAST, steps=400, learning_rate=1e-12, patience=2, closed_form=False, ema_decay=0.0)
    assert resolve(TEACHER, TEACHER, config, batches()).history["steps"] <= 200


def test_labels_add_a_task_loss() -> None:
    """Labels that contradict the teacher pull the student to them."""
    labels = np.zeros(len(IMAGES), np.int64)
    config = replace(FAST, label_weight=50.0, closed_form=False, ema_decay=0.0, held_out=0.0, feature_weight=0.0)
    pair = Pair(TEACHER, TEACHER, config)
    plain = Distillation(pair, Samples(batches(), pair.specs), config)
    told = Distillation(pair, Samples(batches(), pair.specs, labels), config)
    names = pair.names
    pair.parameters(names)
    assert told.learn(0) > plain.learn(0) + 1.0
    with pytest.raises(DataError, match="96 samples and 3 labels"):
        Samples(batches(), pair.specs, labels[:3])


@pytest.mark.parametrize("penalty", ["group_lasso", "l1"])
def test_penalties_shrink_weights(penalty: str) -> None:
    config = replace(FAST, closed_form=False, held_out=0.0, feature_weight=0.0)
    pair = Pair(TEACHER, TEACHER, config)
    pair.parameters(pair.names)
    sizes = []
    for strength in (0.0, 0.1):
        distillation = Distillation(pair, Samples(batches(), pair.specs), replace(config, **{penalty: strength}))
        distillation.problem()
        pair.student.zero_grad()
        sizes.append(distillation.learn(0))
        kernel = pair.student.weights["a1.weight"]
        pull = float((kernel.grad * kernel.detach()).sum())
    assert sizes[1] > sizes[0] + 0.1
    assert pull > 0  # descending makes the kernel smaller


def test_the_time_is_told_beforehand() -> None:
    config = replace(FAST, steps=200)
    told = expected_seconds(STUDENT, TEACHER, config, batches())
    assert 0.02 < told < 60
    assert expected_seconds(STUDENT, TEACHER, RecoverConfig(level="none"), batches()) == 0.0
    assert expected_seconds(STUDENT, TEACHER, replace(config, steps=20000), batches()) > 5 * told


def test_bad_input_is_named() -> None:
    with pytest.raises(DataError, match="there are none"):
        resolve(STUDENT, TEACHER, FAST, lambda: iter(()))
    with pytest.raises(RecipeError, match="'nowhere'"):
        resolve(STUDENT, TEACHER, replace(FAST, features=("nowhere",), closed_form=False), batches())
    other = onnx.ModelProto()
    other.CopyFrom(TEACHER)
    other.graph.output[0].name = "h2"
    with pytest.raises(RecipeError, match="outputs y"):
        resolve(STUDENT, other, FAST, batches())
    with pytest.raises(RecipeError, match="no weight"):
        recover(STUDENT, FAST, RecoverPayload({"absent": np.zeros(1, np.float32)}))


@pytest.mark.parametrize(
    ("field", "value"),
    [("level", "much"), ("steps", -1), ("steps", 1.5), ("learning_rate", 0), ("distillation", "x"), ("augment", 1)],
)
def test_config_refuses_what_makes_no_sense(field: str, value: object) -> None:
    with pytest.raises(RecipeError, match=field):
        RecoverConfig(**{field: value})


def test_config_round_trip() -> None:
    config = RecoverConfig(level="full", features=("a", "b"), l1=0.1)
    assert RecoverConfig.from_dict(json.loads(json.dumps(config.to_dict()))) == config
    with pytest.raises(RecipeError, match="unknown field 'more'"):
        RecoverConfig.from_dict({"more": 1})


def test_augmentation_keeps_shapes_and_repeats_by_seed() -> None:
    made = [augmented({"x": IMAGES}, (0, step))["x"] for step in range(8)]
    assert all(image.shape == IMAGES.shape and image.dtype == np.float32 for image in made)
    assert not any(np.array_equal(a, b) for a, b in itertools.combinations(made, 2))
    assert np.array_equal(made[3], augmented({"x": IMAGES}, (0, 3))["x"])
    words = {"ids": np.zeros((2, 5), np.int64)}
    assert augmented(words, (0,))["ids"] is words["ids"]
