"""Does a quintic between two knots stay inside the arm's limits, everywhere?

Nine samples and a bound on what hides between them answer nearly always; only close to a limit are
the extremes computed. Coefficients are [6, D] in powers of u = 0 … 1 over a duration of `h_s`.
"""

import numpy as np
from tandem.runtime.interfaces import ArmSpec

_ROUNDING = 1 + 1e-6  # motion exactly at a limit is inside
_GAP = 1 / 16  # the farthest that any u is from a sample
_U = np.linspace(0.0, 1.0, 9)[:, None]
_K = np.arange(6)
# [27, 6]: powers of u differentiated once, twice and three times, at nine places.
_ROWS = np.concatenate(
    [
        _K * _U ** np.maximum(_K - 1, 0),
        _K * (_K - 1) * _U ** np.maximum(_K - 2, 0),
        _K * (_K - 1) * (_K - 2) * _U ** np.maximum(_K - 3, 0),
    ]
)


def inside(c: np.ndarray, h_s: float, spec: ArmSpec) -> bool:
    """True when velocity, acceleration and jerk never leave the limits of `spec`.

    Velocity counts with what the arm's own brake would add while it takes the acceleration back.
    """
    v, a, j = (_ROWS @ c).reshape(3, 9, -1)
    v, a, j = v / h_s, a / h_s**2, j / h_s**3
    jerk = np.abs(j).max(axis=0) + 60 * np.abs(c[5]) * _GAP**2 / h_s**3
    ddq = np.abs(a).max(axis=0) + jerk * _GAP * h_s
    brake_adds = np.where(v * a > 0, a * a / (2 * spec.coast_jerk * spec.jerk_max), 0.0)
    dq = (np.abs(v) + brake_adds).max(axis=0) + jerk * (_GAP * h_s) ** 2 / 2
    if (dq > spec.dq_max * _ROUNDING).any():
        return False
    if (ddq <= spec.ddq_max).all() and (jerk <= spec.jerk_max).all():
        return True
    return bool(
        (_peak_ddq(c) <= spec.ddq_max * h_s**2 * _ROUNDING).all()
        and (_peak_jerk(c) <= spec.jerk_max * h_s**3 * _ROUNDING).all()
    )


def _peak_ddq(c: np.ndarray) -> np.ndarray:
    """[D] largest |second derivative by u|: at an end or where the third one is zero."""
    root = np.sqrt(np.maximum(4 * c[4] ** 2 - 10 * c[5] * c[3], 0.0))
    both = -(2 * c[4] + np.copysign(root, c[4]))
    u = np.stack([*_ends(c), _inner(both, 10 * c[5]), _inner(c[3], both)])
    values = 2 * c[2] + u * (6 * c[3] + u * (12 * c[4] + u * 20 * c[5]))
    peak: np.ndarray = np.abs(values).max(axis=0)
    return peak


def _peak_jerk(c: np.ndarray) -> np.ndarray:
    """[D] largest |third derivative by u|: at an end or at the parabola's vertex."""
    u = np.stack([*_ends(c), _inner(-c[4], 5 * c[5])])
    peak: np.ndarray = np.abs(6 * c[3] + u * (24 * c[4] + u * 60 * c[5])).max(axis=0)
    return peak


def _ends(c: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    return np.zeros(c.shape[1]), np.ones(c.shape[1])


def _inner(above: np.ndarray, below: np.ndarray) -> np.ndarray:
    """above / below, kept between 0 and 1."""
    u = np.divide(above, below, out=np.zeros_like(below), where=below != 0)
    kept: np.ndarray = np.minimum(np.maximum(u, 0.0), 1.0)
    return kept
