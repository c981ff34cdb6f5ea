"""A model as a picture: operators as boxes, what they read as lines, colour for precision, bars for time.

What one operator shows is a ``Box``; ``placement`` says where each stands; ``graph_svg`` draws them.
"""

from __future__ import annotations

from autocompress.report.graph_picture.box import Box
from autocompress.report.graph_picture.names import place_in_network
from autocompress.report.graph_picture.svg import MOST_LETTERS, graph_svg

__all__ = ["MOST_LETTERS", "Box", "graph_svg", "place_in_network"]
