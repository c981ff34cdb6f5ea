"""The picture of a graph: where boxes stand, and what is drawn."""

from __future__ import annotations

import itertools
import random
import xml.etree.ElementTree as ElementTree

import pytest

from autocompress.report.graph_picture import Box, graph_svg, place_in_network
from autocompress.report.graph_picture.columns import columns
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


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("/layer1/layer1.0/conv1/Conv", "layer1.0/conv1"),
        ("/layer3/layer3.0/Relu_1", "layer3.0"),
        ("/Relu", "Relu"),
        ("Conv_92", "Conv_92"),
        ("stage1.block0.conv1", "stage1.block0.conv1"),
        ("/encoder/layer.0/attention/self/query/MatMul", "attention/self/query"),
        ("/", "/"),
        ("a" * 20 + "b" * 20, "…" + "a" * 5 + "b" * 20),
    ],
)
def test_a_name_says_where_in_the_network(name: str, shown: str) -> None:
    assert place_in_network(name, 26) == shown


def test_a_long_picture_goes_on_in_further_columns() -> None:
    boxes = [_box(f"b{i}", (i - 1,) if i else ()) for i in range(150)]
    root = ElementTree.fromstring(graph_svg("long", boxes))
    _, _, width, height = map(float, root.attrib["viewBox"].split())
    assert 0.8 < width / height < 2.5
    frames = [frame for group in root.iter(f"{SVG}g") for frame in group.findall(f"{SVG}rect[@rx='7']")]
    places = [tuple(float(frame.attrib[key]) for key in ("x", "y", "width", "height")) for frame in frames]
    assert len(places) == 150
    assert all(x >= 0 and y >= 0 and x + w <= width and y + h <= height for x, y, w, h in places)
    # Down a column, and then to the top of the next one.
    for (x, y, w, h), (next_x, next_y, _, _) in itertools.pairwise(places):
        assert (next_x == x and next_y > y + h) or (next_x > x + w and next_y == places[0][1])
    assert len({x for x, _, _, _ in places}) > 1


def test_a_column_ends_where_few_lines_are_cut() -> None:
    heights, crossing = [50.0] * 100, [3] * 100
    crossing[48] = 1
    slots = columns(heights, crossing, width=2000.0, gap=30.0)
    assert [slot.column for slot in slots] == [0] * 48 + [1] * 52
    assert (slots[47].top, slots[48].top) == (47 * 80.0, 0.0)
    assert {slot.column for slot in columns(heights[:20], crossing[:20], width=200.0, gap=30.0)} == {0}
    assert columns([], [], width=640.0, gap=30.0) == []
