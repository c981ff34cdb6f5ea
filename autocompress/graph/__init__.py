"""The network as data: load, check, identify, reshape, normalize, price in multiply-adds, save."""
