"""How the latency benchmark judges: predictions of several methods against the truth, with intervals."""
