"""Recipes: ordered, serialisable, reproducible descriptions of how a candidate is made."""
