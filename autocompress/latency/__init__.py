"""The latency model: tables of measured operators, predictors for the rest, and estimates of whole models."""
