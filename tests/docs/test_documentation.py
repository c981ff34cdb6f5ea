from __future__ import annotations

import re
import subprocess
import tomllib
from pathlib import Path

import numpy as np
import pytest
import typer
import yaml

from autocompress import errors
from autocompress.cli import reference
from autocompress.cli.main import app
from autocompress.config import load_config

ROOT = Path(__file__).resolve().parents[2]
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("search_spaces/*.md")])


def _fenced(page: str, language: str) -> list[str]:
    """The fenced blocks of a page that are marked as ``language``; "" for those without a mark."""
    text = (ROOT / page).read_text(encoding="utf-8")
    blocks = re.findall(r"^```(\w*)\n(.*?)^```$", text, flags=re.M | re.S)
    return [block for mark, block in blocks if mark == language]


def _leaves(command, path: tuple[str, ...] = ("autocompress",)):
    children = getattr(command, "commands", {})
    return [leaf for name, child in children.items() for leaf in _leaves(child, (*path, name))] or [(path, command)]


LEAVES = _leaves(typer.main.get_command(app))


def test_the_command_line_page_is_current():
    page = (ROOT / "docs/cli.md").read_text(encoding="utf-8")
    assert page == reference.reference(), "run python -m autocompress.cli.reference docs/cli.md"


@pytest.mark.parametrize(("path", "command"), LEAVES, ids=[" ".join(path) for path, _ in LEAVES])
def test_every_command_and_flag_is_documented(path, command):
    page = (ROOT / "docs/cli.md").read_text(encoding="utf-8")
    section = re.search(rf"^## {' '.join(path)}\n(.*?)(?=^## |\Z)", page, flags=re.M | re.S)[1]
    assert command.help
    assert command.help.split("\n")[0] in section
    for parameter in command.params:
        assert parameter.help, f"{parameter.name} has no help"
        for flag in (*parameter.opts, *parameter.secondary_opts):
            if flag.startswith("--") and flag != "--help":
                assert flag in section


@pytest.mark.parametrize(("path", "command"), LEAVES, ids=[" ".join(path) for path, _ in LEAVES])
def test_every_result_can_be_had_as_json(path, command):
    assert "--json" in [flag for parameter in command.params for flag in parameter.opts]


def test_a_page_that_is_not_current_is_named(tmp_path, capsys):
    page = tmp_path / "cli.md"
    assert reference.main([str(page)]) == 0
    assert reference.main(["--check", str(page)]) == 0
    page.write_text("old", encoding="utf-8")
    assert reference.main(["--check", str(page)]) == 1
    assert "is not current" in capsys.readouterr().err


@pytest.mark.parametrize("page", PAGES, ids=[str(page.relative_to(ROOT)) for page in PAGES])
def test_links_lead_somewhere(page):
    text = page.read_text(encoding="utf-8")
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if not target.startswith(("https://", "#")):
            assert (page.parent / target.split("#")[0]).exists(), f"{page.name} links to {target}"


def test_the_commands_that_pages_show_exist():
    known = {" ".join(path[1:]) for path, _ in LEAVES}
    shown = re.findall(
        r"^autocompress ((?:study |table )?[a-z]+)",
        "\n".join(text for page in ("README.md", "docs/data.md") for text in _fenced(page, "")),
        flags=re.M,
    )
    assert len(shown) >= 8
    assert set(shown) <= known


def test_the_shown_run_file_can_be_read(tmp_path):
    [text] = [text for text in _fenced("docs/data.md", "yaml") if "target_speedup" in text]
    path = tmp_path / "run.yaml"
    path.write_text(text, encoding="utf-8")
    config = load_config(path)
    assert (config.target_speedup, config.max_accuracy_drop, config.timeout_s) == (2.0, 0.01, 600.0)
    assert config.model == tmp_path / "mobilenet.onnx"


def test_the_shown_preprocessing_can_be_read():
    from autocompress.data.preprocess import parse_preprocess

    [text] = [text for text in _fenced("docs/data.md", "yaml") if "layout" in text]
    plain = parse_preprocess(yaml.safe_load(text))
    either = re.sub(r"^(scale|bias):.*\n", "", text, flags=re.M)
    other = parse_preprocess(yaml.safe_load(re.sub(r"^# (divide|mean|std):", r"\1:", either, flags=re.M)))
    assert plain.images.crop == (224, 224)
    np.testing.assert_allclose(plain.images.scale, other.images.scale, atol=1e-5)
    np.testing.assert_allclose(plain.images.bias, other.images.bias, atol=1e-3)


def test_the_shown_metrics_work():
    from autocompress.evaluate.metrics import user_metric

    [text] = [text for text in _fenced("docs/data.md", "python") if "lower_is_better" in text]
    namespace: dict = {}
    exec(compile(text, "my_metrics.py", "exec"), namespace)
    hit, largest = user_metric(namespace["hit"]), user_metric(namespace["largest_error"])
    outputs = {"logits": np.eye(3, dtype=np.float32), "depth": np.array([1.0, 4.0, 2.0])}
    scores = hit(outputs, {"labels": np.array([0, 1, 0])}, 3)
    assert scores.tolist() == [1, 1, 0]
    assert largest(outputs, {"truth": np.array([1.0, 1.0, 1.0])}, 3) == 3.0
    assert (hit.higher_is_better, largest.higher_is_better) == (True, False)


def test_the_shown_layers_are_the_checked_ones():
    with (ROOT / "pyproject.toml").open("rb") as file:
        contracts = tomllib.load(file)["tool"]["importlinter"]["contracts"]
    checked = next(c["layers"] for c in contracts if c["type"] == "layers")
    block = next(text for text in _fenced("docs/architecture.md", "") if text.startswith("cli "))
    shown = [re.split(r"\s{2,}", line)[0] for line in block.splitlines()]
    assert shown == checked


def test_the_shown_errors_are_the_raised_ones():
    [block] = [text for text in _fenced("docs/exit_codes.md", "") if "AutocompressError" in text]
    shown = re.findall(r"^[│├└─\s]*(\w+)", block, flags=re.M)
    classes = [value for value in vars(errors).values() if isinstance(value, type) and issubclass(value, Exception)]
    assert shown == [cls.__name__ for cls in classes]


def test_the_readme_names_both_commands_and_the_folders_files():
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    for word in ("make run", "make test", "best.onnx", "recipe.json", "summary.json", "report.html", "pareto.png"):
        assert word in text
    assert (ROOT / "LICENSE").read_text(encoding="utf-8").count("END OF TERMS AND CONDITIONS") == 1


def test_the_changelog_has_a_place_for_what_is_new():
    assert "## [Unreleased]" in (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")


def _tracked() -> list[Path]:
    done = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=False)
    if done.returncode != 0:
        pytest.skip("not a git checkout")
    return [ROOT / name for name in done.stdout.decode().split("\0") if name and (ROOT / name).is_file()]


def test_files_name_no_machine_and_no_registry():
    # Spelled in pieces, for this file is tracked too.
    words = ["py" + "pi.org", "python" + "hosted", "download." + "pytorch", "/ro" + "ot/", "/wo" + "rk/"]
    pattern = re.compile("|".join(re.escape(word) for word in words))
    for path in _tracked():
        if path.suffix in {".py", ".md", ".toml", ".txt", ".yaml", ".yml", ".cfg", ".sh", ".json"} or not path.suffix:
            found = pattern.search(path.read_text(encoding="utf-8", errors="replace"))
            assert found is None, f"{path.relative_to(ROOT)} names {found[0]}"


def test_names_keep_to_the_vocabulary():
    refused = re.compile(r"(?:^|_)(manager|helpers?|engine|utils?|common|misc|infos?)(?:_|$)")
    names = [path.relative_to(ROOT) for path in _tracked() if path.suffix == ".py"]
    assert [str(name) for name in names if any(refused.search(part) for part in name.with_suffix("").parts)] == []


def test_every_promised_key_of_the_summary_is_described():
    from autocompress.report.summary import _KEYS

    text = (ROOT / "docs/results.md").read_text(encoding="utf-8")
    words = set(re.findall(r"`([a-z_0-9.]+)`", text))
    for part, keys in _KEYS.items():
        for key in keys:
            assert key in words or f"{part}.{key}" in words, f"{part}.{key} is not described"
