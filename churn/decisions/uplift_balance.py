"""Whether two arms are alike before the contact, as arms that were drawn at random are."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from math import sqrt
from statistics import NormalDist
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from churn.decisions.uplift_learners import Flags

NEGLIGIBLE: Final = 0.1
"""A standardised difference that is commonly taken for none (Austin 2009, doi:10.1002/sim.3697)."""
CHANCE: Final = 0.001
"""The chance that any difference between random arms is reported."""
_SHOWN: Final = 10


def balance(matrix: npt.NDArray[np.float32], treated: Flags, features: Sequence[str]) -> dict[str, Any]:
    """The features that differ most between the arms, each with its standardised difference: the mean of the treated
    minus that of those held out, in standard deviations of all rows.

    `features` names the feature of each column of the matrix. Of one with several it is the greatest: of the signed
    logarithm of a number, of being null, of each text.
    `unbalanced` are those beyond NEGLIGIBLE and beyond CHANCE.
    """
    count, of_treated = len(treated), int(treated.sum())
    noise = sqrt(1 / max(of_treated, 1) + 1 / max(count - of_treated, 1))
    limit = max(NEGLIGIBLE, NormalDist().inv_cdf(1 - CHANCE / 2 / len(features)) * noise)
    found: dict[str, float] = {}
    for feature, column in zip(features, matrix.T, strict=True):
        values = column.astype(np.float64)
        deviation = values.std()
        difference = float((values[treated].mean() - values[~treated].mean()) / deviation) if deviation else 0.0
        if abs(difference) >= abs(found.get(feature, 0.0)):
            found[feature] = difference
    greatest = sorted(found, key=lambda name: (-abs(found[name]), name))
    return {
        "differences": {name: found[name] for name in greatest[:_SHOWN]},
        "unbalanced": [name for name in greatest if abs(found[name]) > limit],
    }


def balance_sentences(found: Mapping[str, Any]) -> Iterator[str]:
    """
    >>> next(balance_sentences({"differences": {"age": 0.03}, "unbalanced": []}))
    'the arms are alike before the contact: no feature differs by more than chance or 0.1 standard deviations'
    """
    names = found["unbalanced"]
    if not names:
        yield (
            "the arms are alike before the contact: no feature differs by more than chance or "
            f"{NEGLIGIBLE} standard deviations"
        )
        return
    shown = ", ".join(f"{name} ({found['differences'][name]:+.2f})" for name in names[:_SHOWN])
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    yield (
        f"warning: the arms differ, in standard deviations, in {shown}{more}. A column that became known only after "
        "the contact belongs in exclude; any other shows that the arms were not drawn at random, and then the figures "
        "are not the effect of the contact alone"
    )
