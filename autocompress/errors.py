"""Every error this package raises on purpose.

    AutocompressError            exit code 1 (our fault) unless a subclass says otherwise
    ├── UserError                exit code 2: the input or the usage is wrong
    │   ├── ConfigError          an option, a flag, a YAML file
    │   ├── ModelError           the network
    │   ├── DataError            the samples, the preprocessing
    │   ├── MetricError          the metric raised, or gave no usable number
    │   ├── RecipeError          a recipe that does not fit the model or is malformed
    │   ├── TableError           a latency table or predictor file
    │   └── StorageError         the study database or the output folder
    ├── NothingToCompress        exit code 3: the model offers nothing to do (already int8, no weights, ...)
    ├── RuntimeFailure           the inference runtime refused or failed
    └── CandidateFailed          one candidate could not be built or evaluated; the search goes on

A message is one sentence that says what is wrong, where, and what to do about it.
"""

from __future__ import annotations


class AutocompressError(Exception):
    """Base of every deliberate error; ``exit_code`` is what the command line returns."""

    exit_code = 1


class UserError(AutocompressError):
    """The input or the usage is wrong."""

    exit_code = 2


class ConfigError(UserError):
    """An option, a flag or a configuration file is wrong."""


class ModelError(UserError):
    """The network cannot be used as given."""


class DataError(UserError):
    """The samples or their preprocessing cannot be used as given."""


class MetricError(UserError):
    """The metric raised, or returned no usable number."""


class RecipeError(UserError):
    """A recipe is malformed or does not fit the model."""


class TableError(UserError):
    """A latency table or predictor file is malformed or belongs elsewhere."""


class StorageError(UserError):
    """The study database or the output folder cannot be used."""


class NothingToCompress(AutocompressError):
    """The model offers nothing to compress; it is left unchanged."""

    exit_code = 3


class RuntimeFailure(AutocompressError):
    """The inference runtime refused a model or failed while running it."""


class CandidateFailed(AutocompressError):
    """One candidate could not be built or evaluated; the search goes on."""
