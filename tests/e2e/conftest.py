from __future__ import annotations

import shutil
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

sys.path.append(str(Path(__file__).parent))
from small_world import Finished, Shell, digest, save_classifier, save_samples, save_small_space


@dataclass(frozen=True)
class Home:
    """A folder with a model ``m.onnx``, samples ``d.npz``, a search space ``small.yaml`` and an older result.

    Attributes:
        folder: where they are, and the current folder of commands.
        shell: runs commands there.
    """

    folder: Path
    shell: Shell

    @property
    def old_result(self) -> Path:
        return self.folder / "out"

    def run(self, *arguments: object, **settings: object) -> Finished:
        """``autocompress run`` on the model, short and without progress."""
        return self.shell.call("run", *self.short(), *arguments, **settings)

    def run_here(self, *arguments: object) -> Finished:
        """The same without processes of its own, which take seconds to start."""
        return self.shell.call_here("run", *self.short(), "--workers", "0", *arguments)

    def short(self) -> tuple[str, ...]:
        return (
            *("m.onnx", "--data", "d.npz", "--search-space", "small.yaml", "--trials", "2", "--timeout", "60s"),
            *("--output", "out", "--storage", "s.db"),
        )


@pytest.fixture(scope="session")
def furnished(tmp_path_factory) -> Path:
    """What every home begins with; it is copied, never changed."""
    folder = tmp_path_factory.mktemp("furnished")
    model = save_classifier(folder / "m.onnx", channels=32)
    save_samples(folder / "d.npz", model)
    save_small_space(folder / "small.yaml")
    (folder / "out").mkdir()
    (folder / "out" / "best.onnx").write_text("an older result")
    (folder / "out" / "summary.json").write_text("{}")
    return folder


def make_home(furnished: Path, folder: Path, cache: Path) -> Home:
    shutil.copytree(furnished, folder, dirs_exist_ok=True)
    return Home(folder, Shell(folder, cache))


@pytest.fixture(scope="session")
def cache(tmp_path_factory) -> Path:
    """The user's own latency tables, so that an operator is timed once for all tests."""
    return tmp_path_factory.mktemp("cache")


@pytest.fixture
def home(furnished, tmp_path, cache) -> Home:
    return make_home(furnished, tmp_path, cache)


@dataclass(frozen=True)
class FinishedRun:
    """A run that ended, and what there was before it.

    Attributes:
        home: where it ran; its study is "first".
        done: what it printed.
        before: digests of the user's files, taken before.
    """

    home: Home
    done: Finished
    before: dict[str, str]


@pytest.fixture(scope="session")
def first_run(furnished, tmp_path_factory, cache) -> FinishedRun:
    home = make_home(furnished, tmp_path_factory.mktemp("first"), cache)
    before = {name: digest(home.folder / name) for name in ("m.onnx", "d.npz")}
    return FinishedRun(home, home.run("--study", "first", "--target-speedup", "1.1x", "--json"), before)
