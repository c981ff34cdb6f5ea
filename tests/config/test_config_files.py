from __future__ import annotations

import tempfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from autocompress.config import RunConfig, dump_config, load_config
from autocompress.errors import ConfigError


@pytest.fixture
def write(tmp_path):
    def _write(text: str) -> Path:
        path = tmp_path / "run.yaml"
        path.write_text(text, encoding="utf-8")
        return path

    return _write


def test_file_alone(write):
    path = write("model: nets/m.onnx\ndata: d.npz\ntarget-speedup: 2x\nmax_accuracy_drop: 0.5%\nshapes: {x: 1x3}\n")
    config = load_config(path)
    assert config.model == path.parent / "nets/m.onnx"
    assert config.data == path.parent / "d.npz"
    assert config.target_speedup == 2.0
    assert config.max_accuracy_drop == 0.005
    assert config.shapes == {"x": (1, 3)}


def test_flags_win_over_the_file_and_absent_flags_do_not(write):
    path = write("threads: 4\ntrials: 9\ntimeout: 1h\n")
    config = load_config(path, {"threads": 2, "trials": None, "timeout": "30s"})
    assert (config.threads, config.trials, config.timeout_s) == (2, 9, 30.0)


def test_flags_alone():
    assert load_config(None, {"model": "m.onnx", "target_speedup": "3x"}) == RunConfig(model="m.onnx", target_speedup=3)


def test_paths_of_flags_are_relative_to_the_working_folder(write):
    assert load_config(write("model: a.onnx\n"), {"model": "b.onnx"}).model == Path("b.onnx")


def test_what_is_no_relative_path_stays(write, tmp_path):
    text = "data: my.mod:samples\nsearch_space: ptq\nstorage: sqlite:///abs.db\nmodel: /abs/m.onnx\nmetric: m.n:f\n"
    config = load_config(write(text))
    assert (config.data, config.search_space, config.storage) == ("my.mod:samples", "ptq", "sqlite:///abs.db")
    assert (config.model, config.metric) == (Path("/abs/m.onnx"), "m.n:f")
    config = load_config(write("search_space: mine.yaml\nstorage: runs.db\n"))
    assert (config.search_space, config.storage) == (str(tmp_path / "mine.yaml"), str(tmp_path / "runs.db"))


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("target_sped: 2x\n", "run.yaml: unknown option 'target_sped'; did you mean 'target_speedup'"),
        ("target_speedup: -1\n", "run.yaml: target speedup '-1' must be above zero"),
        ("target_latency: 5\n", "run.yaml: target latency '5' has no unit"),
        ("a: [1\n", "run.yaml, line 2 is not valid YAML"),
        ("- a\n- b\n", "holds no options"),
        ("just text", "holds no options"),
        ("max-accuracy-drop: 1%\nmax_accuracy_drop: 2%\n", "given twice"),
        ("deterministic: true\n", "deterministic needs trials"),
        ("5: 6\n", "unknown option '5'"),
    ],
)
def test_bad_file_is_one_sentence(write, text, sentence):
    with pytest.raises(ConfigError, match=sentence) as caught:
        load_config(write(text))
    assert "\n" not in str(caught.value)


def test_unreadable_files(tmp_path):
    with pytest.raises(ConfigError, match=r"cannot read the configuration .*No such file"):
        load_config(tmp_path / "none.yaml")
    with pytest.raises(ConfigError, match=r"cannot read the configuration .*directory"):
        load_config(tmp_path)
    binary = tmp_path / "m.onnx"
    binary.write_bytes(b"\xff\xfe\x00\x80")
    with pytest.raises(ConfigError, match="not a text file"):
        load_config(binary)


def test_yaml_never_builds_objects(write):
    with pytest.raises(ConfigError, match="not valid YAML"):
        load_config(write("model: !!python/object/apply:os.getcwd []\n"))


def test_an_empty_file_asks_for_nothing(write):
    assert load_config(write("")) == RunConfig()


def test_dump_is_read_back_from_anywhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    config = RunConfig(model="m.onnx", data="a.b:c", target_size="4x", search_space="mine.yaml", shapes=["x:1x2"])
    (tmp_path / "deep").mkdir()
    dump_config(config, tmp_path / "deep/run.yaml")
    read = load_config(tmp_path / "deep/run.yaml")
    assert read.model == tmp_path / "m.onnx"
    assert (read.data, read.search_space) == ("a.b:c", str(tmp_path / "mine.yaml"))
    dump_config(read, tmp_path / "again.yaml")
    assert load_config(tmp_path / "again.yaml") == read
    assert sorted(p.name for p in tmp_path.iterdir()) == ["again.yaml", "deep"]


def test_dump_where_nothing_can_be_written(tmp_path):
    with pytest.raises(ConfigError, match="cannot write the configuration"):
        dump_config(RunConfig(), tmp_path / "none" / "run.yaml")


@given(
    st.fixed_dictionaries(
        {},
        optional={
            "model": st.just("/nets/m.onnx"),
            "target_speedup": st.floats(1, 100),
            "target_latency_ms": st.floats(1e-4, 1e5),
            "max_accuracy_drop": st.floats(0, 10),
            "threads": st.integers(1, 64),
            "trials": st.integers(1, 1000),
            "timeout_s": st.floats(0.001, 1e6),
            "seed": st.integers(0, 2**31 - 1),
            "shapes": st.dictionaries(st.text(min_size=1), st.lists(st.integers(1, 512), min_size=1), max_size=3),
            "storage": st.just("/runs.db"),
            "output": st.just("/out"),
            "resume": st.booleans(),
        },
    )
)
def test_round_trip(options):
    config = RunConfig(**{"storage": "/runs.db", "output": "/out", **options})
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "run.yaml"
        dump_config(config, path)
        assert load_config(path) == config
