"""Distances between two sets of features. All arrays are (n, d), all sums float64."""

from __future__ import annotations

import numpy as np

from worldmodel.errors import DataError


def frechet_distance(a: np.ndarray, b: np.ndarray) -> float:
    """Between Gaussians of the sets' means and covariances: |m1 - m2|^2 + tr(C1 + C2 - 2 (C1^1/2 C2 C1^1/2)^1/2).

    It has a bias that falls with n and grows with d: compare only what has the same n and d, beside the distance of two
    sets of the same source. Source: Dowson & Landau 1982; Heusel et al. 2017.

    Raises DataError for sets of other widths, of fewer than two rows, or not finite.
    """
    a, b = _checked(a, b)
    mean = a.mean(0) - b.mean(0)
    # C = R'R for each, so the trace of the root is the sum of singular values of R1 R2': no root of rounding errors.
    first, second = _triangle(a), _triangle(b)
    shared = np.linalg.svd(first @ second.T, compute_uv=False).sum()
    return float(mean @ mean + np.square(first).sum() + np.square(second).sum() - 2 * shared)


def polynomial_mmd(a: np.ndarray, b: np.ndarray) -> float:
    """Squared maximum mean discrepancy with the kernel (x·y / d + 1)^3: 0 in the mean for sets of the same source.

    Without bias, so it may be below 0. Source: Bińkowski et al. 2018, "Demystifying MMD GANs".

    Raises as `frechet_distance`.
    """
    a, b = _checked(a, b)
    d = a.shape[1]

    def kernel(x: np.ndarray, y: np.ndarray) -> np.ndarray:
        return (x @ y.T / d + 1) ** 3

    def within(x: np.ndarray) -> float:
        similar = kernel(x, x)
        return float((similar.sum() - np.trace(similar)) / (len(x) * (len(x) - 1)))

    return within(a) + within(b) - 2 * float(kernel(a, b).mean())


def _triangle(x: np.ndarray) -> np.ndarray:
    """R, whose R'R is the covariance of (n, d)."""
    return np.asarray(np.linalg.qr((x - x.mean(0)) / np.sqrt(len(x) - 1), mode="r"))


def _checked(a: np.ndarray, b: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    a, b = np.asarray(a, np.float64), np.asarray(b, np.float64)
    if a.ndim != 2 or b.ndim != 2 or a.shape[1] != b.shape[1] or min(len(a), len(b)) < 2:
        raise DataError(f"features are {a.shape} and {b.shape}: give (n, d) each, n >= 2, of one width d")
    if not (np.isfinite(a).all() and np.isfinite(b).all()):
        raise DataError("features are not finite: look at the videos that they come from")
    return a, b
