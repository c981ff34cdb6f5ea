"""Calibration: from batches to statistics, from statistics to ranges, from ranges to integers.

collect      one pass of a model over samples -> Statistics (streaming, mergeable)
ranges       TensorStatistics -> TensorRange, eight algorithms
scheme       TensorRange -> scale and zero point; real numbers <-> integers
weights      weight -> scales and zero points
"""
