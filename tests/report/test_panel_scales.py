"""Axes of small charts: the same for all, and small losses visible beside large ones."""

from __future__ import annotations

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from autocompress.report.panel_scales import same_scales


def _panels(losses: list[list[float]]) -> list[list[Axes]]:
    grid = Figure().subplots(2, len(losses), squeeze=False)
    for column, values in enumerate(losses):
        for axes, scale in zip(grid[:, column], (1.0, 1e-3), strict=True):
            axes.plot(range(len(values)), [scale * (value + 0.001) for value in values])
    return [list(grid[:, column]) for column in range(len(losses))]


def test_losses_alike_share_a_linear_axis() -> None:
    panels = _panels([[0.5, 1.0], [2.0, 3.0]])
    same_scales(panels)
    assert {parts[0].get_yscale() for parts in panels} == {"linear"}
    assert len({parts[0].get_ylim() for parts in panels}) == 1
    assert {parts[1].get_yscale() for parts in panels} == {"log"}


def test_one_large_loss_leaves_the_small_ones_visible() -> None:
    panels = _panels([[54.0], [0.4, 0.8], [0.0, 0.4]])
    same_scales(panels)
    for losses, _ in panels:
        low, high = losses.get_ylim()
        assert low < 0 and high > 54
        # Of the height of the chart, 0.8 points take a share that can be seen.
        zero, small, top = losses.transData.transform([(0, 0.0), (0, 0.8), (0, high)])[:, 1]
        assert (small - zero) / (top - zero) > 0.15
        losses.figure.draw_without_rendering()
        assert {"0", "1", "10"} <= {label.get_text() for label in losses.get_yticklabels()}
