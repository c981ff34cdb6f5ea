"""A model as a picture: operators as boxes, what they read as lines, colour for precision, bars for time.

What one operator shows is a ``Box``; ``placement`` says where each stands; ``graph_svg`` draws them.
"""

from __future__ import annotations

from autocompress.report.graph_picture.box import Box
from autocompress.report.graph_picture.svg import graph_svg

__all__ = ["Box", "graph_svg"]
