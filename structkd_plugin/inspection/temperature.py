"""The number to divide a teacher's potentials by, so that its probabilities say how often it is right."""

import math
from typing import Callable

from scipy.optimize import minimize_scalar

# A teacher that is right throughout its development data has no best temperature: the lower the better.
LOWEST, HIGHEST = 0.05, 20.0
# Of the logarithm of the temperature.
_PRECISION = 1e-6


def best_temperature(nll: Callable[[float], float]) -> float:
    """
    The temperature from `LOWEST` to `HIGHEST` with the least negative log-likelihood.

    The negative log-likelihood of a chain is convex in 1 / temperature, so that every local minimum is the minimum.

    # Parameters

    nll : `Callable[[float], float]`
        The negative log-likelihood at a temperature, in any unit.

    # Returns

    `float` : 1 where no other temperature is better.
    """
    found = minimize_scalar(
        lambda log_temperature: nll(math.exp(log_temperature)),
        bounds=(math.log(LOWEST), math.log(HIGHEST)),
        method="bounded",
        options={"xatol": _PRECISION},
    )
    # A bounded search comes close to a bound, and never there.
    candidates = [1.0, math.exp(found.x), LOWEST, HIGHEST]
    # The first of equals, so that a teacher that is never sure of anything stays as it is.
    return min(candidates, key=nll)


def at_bound(temperature: float) -> bool:
    """Whether the best temperature may lie beyond those that are tried."""
    return temperature in (LOWEST, HIGHEST)
