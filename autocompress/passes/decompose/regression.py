"""The linear map of given features that comes closest to a layer's output."""

from __future__ import annotations

import numpy as np

from autocompress.passes.decompose.layers import DoubleArray


def regress(matrix: DoubleArray, features: DoubleArray, gram: DoubleArray) -> DoubleArray:
    """Minimises E|W p - B T p|^2 over B:  B = W G T^T (T G T^T)^-1.

    Args:
        matrix: W, of shape (outputs, patch).
        features: T, of shape (features, patch).
        gram: G = E[p p^T].

    Returns:
        B, of shape (outputs, features).
    """
    shared = gram @ features.T
    moment = features @ shared
    # Linearly dependent features are allowed: the pseudo-inverse then takes the smallest coefficients.
    inverse = np.linalg.pinv((moment + moment.T) / 2, rcond=1e-13, hermitian=True)
    found: DoubleArray = matrix @ shared @ inverse
    return found
