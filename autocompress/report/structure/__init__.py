"""What a model's layers are made of, and what compression did to each: read off the models, not off recipes."""

from __future__ import annotations

from autocompress.report.structure.facts import LayerFacts, layer_facts
from autocompress.report.structure.side_by_side import LayerPair, side_by_side
from autocompress.report.structure.totals import Totals, totals

__all__ = ["LayerFacts", "LayerPair", "Totals", "layer_facts", "side_by_side", "totals"]
