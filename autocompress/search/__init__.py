"""The search: space, prices, seeds, exploration, verification; runs in guarded worker processes."""
