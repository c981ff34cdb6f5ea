"""The picture of a graph: where boxes stand, and what is drawn."""

from __future__ import annotations

import random
import xml.etree.ElementTree as ElementTree

import pytest

from autocompress.report.graph_picture import Box, graph_svg
from autocompress.report.graph_picture.placement import place

SVG = "{http://www.w3.org/2000/svg}"


def _box(title: str, reads: tuple[int, ...] = (), kind: str = "float", *changes: str) -> Box:
    return Box(title, ("name",), f"all about {title}", kind, 0.25, changes, reads)


def test_every_node_stands_below_all_that_it_reads() -> None:
    rng = random.Random(0)
    reads = [sorted(rng.sample(range(i), min(i, rng.randint(0, 3)))) for i in range(60)]
    placement = place(reads)
    layer_of = {node: i for i, layer in enumerate(placement.layers) for node in layer}
    assert sorted(node for node in layer_of if node < 60) == list(range(60))
    for node, sources in enumerate(reads):
        for source in sources:
            bends = placement.paths[node, source]
            rows = [layer_of[n] for n in (source, *bends, node)]
            assert rows == list(range(layer_of[source], layer_of[node] + 1))


def test_two_branches_do_not_cross() -> None:
    # 0 feeds two chains of three; each stays on its side.
    placement = place([[], [0], [0], [2], [1], [3], [4], [5, 6]])
    left = [layer.index(n) for n, layer in zip((1, 4, 6), placement.layers[1:4], strict=True)]
    right = [layer.index(n) for n, layer in zip((2, 3, 5), placement.layers[1:4], strict=True)]
    assert len(set(left)) == 1 and len(set(right)) == 1 and set(left) != set(right)


def test_a_node_cannot_read_a_later_one() -> None:
    with pytest.raises(ValueError, match="node 0 reads"):
        place([[1], []])


def test_the_picture_is_xml_with_one_box_per_operator_and_one_line_per_reading() -> None:
    boxes = [_box("Conv"), _box("QLinearConv", (0,), "int8", "to int8"), _box("A<dd> & more", (0, 1))]
    text = graph_svg("a & b", boxes)
    root = ElementTree.fromstring(text)
    assert [title.text for title in root.iter(f"{SVG}title")] == [
        "a & b", "all about Conv", "all about QLinearConv", "all about A<dd> & more",
    ]  # fmt: skip
    assert len(list(root.iter(f"{SVG}path"))) == 3
    written = [element.text for element in root.iter(f"{SVG}text")]
    assert "to int8" in written and "8-bit integers" in written and "25.0 %" in written
    assert "4-bit" not in " ".join(t or "" for t in written)


def test_a_graph_of_nothing_is_a_picture_too() -> None:
    assert ElementTree.fromstring(graph_svg("empty", [])).tag == f"{SVG}svg"
