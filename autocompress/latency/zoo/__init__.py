"""A zoo of architectures, described as data, whose operators tables and predictors are made from."""
