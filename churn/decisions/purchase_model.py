"""How often customers will buy and for how much, from the days on which they bought: numpy and scipy, no Spark.

The base is a BG/NBD with a gamma-gamma (Fader, Hardie & Lee 2005, "Counting Your Customers" the Easy Way, Marketing
Science 24:275-284; 2005, RFM and CLV, Journal of Marketing Research 42:415-430). What it gets wrong is learnt at an
earlier origin, inside the history: there, what happened next is known.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy.optimize import minimize, minimize_scalar
from scipy.special import betaln, gammaincinv, gammaln, hyp2f1
from scipy.stats import nbinom
from sklearn.linear_model import PoissonRegressor

Floats = npt.NDArray[np.float64]

HALF_LIVES: Final = (15, 45, 90)
"""In days, of the decayed counts of purchases."""
PERSISTENT: Final = 90
"""The half-life of the recent rate of purchases, one of HALF_LIVES."""
DAYS: Final = 7.0
"""Models count in weeks."""
LEAST_PURCHASES: Final = 200
"""After the earlier origin; with fewer there is nothing to correct the BG/NBD by."""
MIXES: Final = tuple(np.round(np.arange(0, 1.0001, 0.05), 2))
"""The weights of predicted against past spend that are tried."""
GROUPS: Final = 10
_LEAST: Final = 1e-2
"""A spend that is next to nothing."""


@dataclass(frozen=True)
class History:
    """Customers at an origin, an array each: whole days, counts of days with a purchase, money."""

    purchases: Floats
    """Days with a purchase, the first one too."""
    recency: Floats
    """From the first to the last of them."""
    age: Floats
    """From the first of them to the origin."""
    spend: Floats
    """Net of refunds; may be below 0."""
    decayed: dict[int, Floats]
    """By half-life: the days with a purchase, each counting half as much for every half-life before the origin."""

    @classmethod
    def of(cls, rows: pd.DataFrame) -> History:
        """From the columns purchases, recency, age, spend and decayed_<half-life>."""
        columns = {name: rows[name].to_numpy(np.float64) for name in ("purchases", "recency", "age", "spend")}
        return cls(**columns, decayed={days: rows[f"decayed_{days}"].to_numpy(np.float64) for days in HALF_LIVES})

    def where(self, chosen: npt.NDArray[np.bool_]) -> History:
        arrays = (getattr(self, name)[chosen] for name in ("purchases", "recency", "age", "spend"))
        purchases, recency, age, spend = arrays
        decayed = {days: values[chosen] for days, values in self.decayed.items()}
        return History(purchases, recency, age, spend, decayed)

    @property
    def statistics(self) -> tuple[Floats, Floats, Floats]:
        """x, t_x and T of the models: repeat purchases, recency and age in weeks."""
        return self.purchases - 1, self.recency / DAYS, self.age / DAYS


@dataclass(frozen=True)
class BgNbd:
    """A customer buys at a rate from a gamma(r, alpha) until he drops out, after each purchase with a chance from a
    beta(a, b)."""

    r: float
    alpha: float
    a: float
    b: float

    @classmethod
    def fit(cls, x: Floats, t_x: Floats, age: Floats, weight: Floats) -> BgNbd:
        """By maximum likelihood, from sufficient statistics and how many customers have them."""

        def loss(log: Floats) -> float:
            return -float((weight * cls(*np.exp(log)).log_likelihood(x, t_x, age)).sum() / weight.sum())

        found = minimize(loss, np.log([0.5, 5.0, 1.0, 2.0]), method="L-BFGS-B", bounds=[(-7.0, 9.0)] * 4)
        return cls(*(float(value) for value in np.exp(found.x)))

    def log_likelihood(self, x: Floats, t_x: Floats, age: Floats) -> Floats:
        """Of each customer (Fader, Hardie & Lee 2005, eq. 6)."""
        r, alpha, a, b = self.r, self.alpha, self.a, self.b
        shared = gammaln(r + x) - gammaln(r) + r * np.log(alpha) + betaln(a, b + x) - betaln(a, b)
        dropped = np.log(a) - np.log(b + np.maximum(x, 1) - 1) - (r + x) * np.log(alpha + t_x)
        return np.asarray(
            shared + np.logaddexp(-(r + x) * np.log(alpha + age), np.where(x > 0, dropped, -np.inf)), np.float64
        )

    def expected(self, x: Floats, t_x: Floats, age: Floats, weeks: float) -> Floats:
        """The purchases of each customer in the next weeks (eq. 10)."""
        r, alpha, b = self.r, self.alpha, self.b
        a = self.a if abs(self.a - 1) > 1e-6 else 1 + 1e-6
        shrink = (alpha + age) / (alpha + age + weeks)
        series = hyp2f1(r + x, b + x, a + b + x - 1, weeks / (alpha + age + weeks))
        bought = (a + b + x - 1) / (a - 1) * (1 - shrink ** (r + x) * series)
        dropped = np.where(x > 0, a / (b + np.maximum(x, 1) - 1) * ((alpha + age) / (alpha + t_x)) ** (r + x), 0.0)
        return np.asarray(np.maximum(bought / (1 + dropped), 1e-12), np.float64)


@dataclass(frozen=True)
class GammaGamma:
    """The spend of a purchase is gamma(p, v), and v differs between customers by a gamma(q, g)."""

    p: float
    q: float
    g: float

    @classmethod
    def fit(cls, purchases: Floats, mean: Floats) -> GammaGamma:
        """By maximum likelihood, from each customer's purchases and their mean spend, above 0."""
        scale = float(mean.mean())
        z = mean / scale

        def loss(log: Floats) -> float:
            p, q, g = np.exp(log)
            n = p * purchases
            terms = gammaln(n + q) - gammaln(n) - gammaln(q) + q * np.log(g) + (n - 1) * np.log(z)
            return -float((terms + n * np.log(purchases) - (n + q) * np.log(g + purchases * z)).mean())

        # q above 1: below, the mean spend of a new customer is not finite.
        found = minimize(loss, np.log([2.0, 3.0, 2.0]), method="L-BFGS-B", bounds=[(-5, 7), (0.05, 7), (-7, 9)])
        p, q, g = np.exp(found.x)
        return cls(float(p), float(q), float(g) * scale)

    def expected(self, purchases: Floats, spend: Floats) -> Floats:
        """The mean spend of a customer's purchases to come."""
        return np.asarray(self.p * (self.g + np.maximum(spend, 0.0)) / (self.p * purchases + self.q - 1), np.float64)

    def relative_variance(self, purchases: Floats) -> tuple[float, Floats]:
        """Squared coefficients of variation: of a purchase around its customer's mean, of that mean."""
        return 1 / self.p, 1 / np.maximum(self.p * purchases + self.q - 2, 0.5)


@dataclass(frozen=True)
class Shape:
    """How purchases are shared out between customers: a Poisson regression on logarithms, learnt at the earlier
    origin."""

    mean: Floats
    deviation: Floats
    coefficients: Floats

    @classmethod
    def fit(cls, history: History, base: Floats, bought: Floats) -> Shape:
        columns = _columns(history, base)
        mean, deviation = columns.mean(axis=0), np.maximum(columns.std(axis=0), 1e-9)
        fitted = PoissonRegressor(alpha=1e-2, max_iter=2000).fit((columns - mean) / deviation, bought)
        return cls(mean, deviation, np.asarray(fitted.coef_, np.float64))

    def of(self, history: History, base: Floats) -> Floats:
        """A number in proportion to each customer's purchases."""
        standard = np.clip((_columns(history, base) - self.mean) / self.deviation, -6, 6)
        return np.asarray(np.exp(np.clip(standard @ self.coefficients, -30, 30)), np.float64)


def _columns(history: History, base: Floats) -> Floats:
    idle = history.age - history.recency
    decayed = [np.log(history.decayed[days] + 0.01) for days in HALF_LIVES]
    relative = idle / np.maximum(history.age, 1.0)
    return np.column_stack([np.log(base), np.log(history.purchases), relative, np.log1p(idle), *decayed])


def persistent(history: History, r: float, days: float, mean_rate: float) -> Floats:
    """The purchases of each customer in so many days if the recent rate persists: the decayed count of repeat purchases
    over the decayed time, shrunk to the mean rate as a gamma with shape r is."""
    half_life = float(PERSISTENT)
    repeats = np.maximum(history.decayed[PERSISTENT] - 0.5 ** (history.age / half_life), 0.0)
    exposed = half_life / np.log(2) * (1 - 0.5 ** (history.age / half_life))
    return np.asarray((r + repeats) / (r / mean_rate + exposed) * days, np.float64)


def mean_rate(history: History) -> float:
    """Decayed repeat purchases over decayed days, of all customers."""
    half_life = float(PERSISTENT)
    repeats = np.maximum(history.decayed[PERSISTENT] - 0.5 ** (history.age / half_life), 0.0).sum()
    exposed = (half_life / np.log(2) * (1 - 0.5 ** (history.age / half_life))).sum()
    return float(max(repeats, 0.5) / max(exposed, 1.0))


@dataclass(frozen=True)
class Prediction:
    """Of each customer, over the horizon. `low` and `high` hold the spend with a chance of 80 %."""

    purchases: Floats
    spend: Floats
    low: Floats
    high: Floats


@dataclass(frozen=True)
class PurchaseModel:
    """What customers will buy in `days`. Fitted by `fit_purchases`."""

    days: float
    base: BgNbd
    spend: GammaGamma
    rate: float
    base_share: float
    """The weight of the BG/NBD against the persisting rate, in the level of all purchases."""
    shape: Shape | None
    """None = purchases are shared out as the BG/NBD and the persisting rate have it."""
    mix: float
    """The weight of predicted against past spend in how spend is shared out."""
    dispersion: float
    """k of the negative binomial of a customer's purchases: variance mean + mean^2 / k."""
    shape_scale: float = 1.0
    spend_scale: float = 1.0

    def purchases(self, history: History) -> Floats:
        """The expected purchases of each customer."""
        base = self.base.expected(*history.statistics, self.days / DAYS)
        if self.shape is not None:
            return self.shape_scale * self.shape.of(history, base)
        return self._level(history, base)

    def _level(self, history: History, base: Floats) -> Floats:
        recent = persistent(history, self.base.r, self.days, self.rate)
        return np.asarray(self.base_share * base + (1 - self.base_share) * recent, np.float64)

    @property
    def parameters(self) -> dict[str, Any]:
        """The parameters, as JSON has them."""
        return {
            "bg_nbd": asdict(self.base),
            "gamma_gamma": asdict(self.spend),
            "share_of_bg_nbd": self.base_share,
            "shared_out_by_regression": self.shape is not None,
            "weight_of_prediction": self.mix,
            "dispersion": self.dispersion,
        }

    def predict_rows(self, rows: pd.DataFrame) -> Prediction:
        """`predict` of rows with the columns of `History`."""
        return self.predict(History.of(rows))

    def predict(self, history: History) -> Prediction:
        """The expected purchases and spend, and an interval of the spend.

        Purchases are negative binomial, their mean spend gamma-gamma; given that there is one, the spend is taken as a
        gamma with the mean and the variance of their product.
        """
        bought = self.purchases(history)
        each = self.spend.expected(history.purchases, history.spend)
        spend = self.spend_scale * _mixed(bought * each, history.spend, self.mix)
        none = nbinom.pmf(0, self.dispersion, self.dispersion / (self.dispersion + bought))
        within, between = self.spend.relative_variance(history.purchases)
        relative = within / bought + (1 / bought + 1 / self.dispersion) + between
        any_ = np.maximum(1 - none, 1e-12)
        mean = spend / any_
        variance = np.maximum((relative + 1) * spend**2 / any_ - mean**2, 1e-9 * mean**2 + 1e-300)
        bounds = []
        for share in (0.1, 0.9):
            beyond = np.clip((share - none) / any_, 0.0, 1.0)
            bounds.append(gammaincinv(mean**2 / variance, beyond) * variance / mean)
        return Prediction(bought, spend, bounds[0], bounds[1])


def _mixed(predicted: Floats, past: Floats, mix: float) -> Floats:
    """The weighted geometric mean of predicted and past spend; one of 0 or less counts as next to nothing."""
    # Like log(past), and in the order of past below 0 too.
    log_past = np.where(
        past > _LEAST, np.log(np.maximum(past, _LEAST)), np.log(_LEAST) + np.minimum(past - _LEAST, 0.0) / 1e6
    )
    return np.asarray(np.exp(mix * np.log(predicted + 1e-9) + (1 - mix) * log_past), np.float64)


def _mix(predicted: Floats, past: Floats, spent: Floats) -> float:
    """The least weight of the prediction whose ranking is within one standard error of the best one's: past spend is
    hard to beat where few customers spend most.

    The error is that of the paired difference between GROUPS groups of customers.
    """
    by_group = np.empty((len(MIXES), GROUPS))
    group = np.arange(len(spent)) % GROUPS
    for row, mix in enumerate(MIXES):
        mixed = _mixed(predicted, past, mix)
        by_group[row] = [gini(mixed[group == one], spent[group == one]) for one in range(GROUPS)]
    best = int(np.argmax(by_group.mean(axis=1)))
    behind = by_group[best] - by_group
    error = behind.std(axis=1, ddof=1) / np.sqrt(GROUPS)
    return float(MIXES[int(np.argmax(behind.mean(axis=1) <= error))])


def fit_purchases(
    now: History, days: float, earlier: History, since: float, bought: Floats, spent: Floats
) -> PurchaseModel:
    """The model at an origin for the next `days`.

    `earlier` are customers `since` days before the origin, and `bought` and `spent` what they did from then to the
    origin: nothing is read that was not known by the origin. The earlier origin decides how far the recent rate
    persists (a share from 0 to 1 of least Poisson deviance), how purchases and spend are shared out between customers,
    and how widely they scatter.
    """
    base, rate = _base(now), mean_rate(now)
    spend = _spend(now)
    plain = PurchaseModel(days, base, spend, rate, 1.0, None, 1.0, 1.0)
    if len(bought) == 0 or bought.sum() < LEAST_PURCHASES:
        return plain
    base_then, rate_then = _base(earlier), mean_rate(earlier)
    expected = base_then.expected(*earlier.statistics, since / DAYS)
    recent = persistent(earlier, base_then.r, since, rate_then)

    def loss(weight: float) -> float:
        return _deviance(weight * expected + (1 - weight) * recent, bought)

    share = float(minimize_scalar(loss, bounds=(0.0, 1.0), method="bounded").x)
    level = share * expected + (1 - share) * recent
    shared, crossed = _shape(earlier, expected, level, bought)
    scaled = crossed * bought.sum() / crossed.sum()
    each = _spend(earlier).expected(earlier.purchases, earlier.spend)
    model = PurchaseModel(
        days, base, spend, rate, share, shared, _mix(scaled * each, earlier.spend, spent), _dispersion(scaled, bought)
    )
    base_now = base.expected(*now.statistics, days / DAYS)
    total = float(model._level(now, base_now).sum())
    scale = total / float(shared.of(now, base_now).sum()) if shared is not None else 1.0
    model = replace(model, shape_scale=scale)
    money = float((model.purchases(now) * spend.expected(now.purchases, now.spend)).sum())
    mixed = _mixed(model.purchases(now) * spend.expected(now.purchases, now.spend), now.spend, model.mix)
    return replace(model, spend_scale=money / float(mixed.sum()))


def _base(history: History) -> BgNbd:
    """The BG/NBD of customers grouped by their sufficient statistics."""
    grouped, counts = np.unique(np.column_stack(history.statistics), axis=0, return_counts=True)
    x, t_x, age = grouped.T
    return BgNbd.fit(x, t_x, age, counts.astype(np.float64))


def _spend(history: History) -> GammaGamma:
    paying = history.spend > 0
    if not paying.any():
        return GammaGamma(1.0, 2.0, 1e-9)
    return GammaGamma.fit(history.purchases[paying], history.spend[paying] / history.purchases[paying])


def _shape(earlier: History, expected: Floats, level: Floats, bought: Floats) -> tuple[Shape | None, Floats]:
    """The shape, if on the other half of the customers it does better than the level's own; and each customer's share
    by the shape that was learnt from the other half. One customer has no other half, and the level's own."""
    if len(bought) < 2:
        return None, level
    half = np.arange(len(bought)) % 2 == 0
    crossed = np.empty(len(bought))
    for fold in (half, ~half):
        learnt = Shape.fit(earlier.where(fold), expected[fold], bought[fold])
        crossed[~fold] = learnt.of(earlier.where(~fold), expected[~fold])
    as_level = level * bought.sum() / level.sum()
    as_shape = crossed * bought.sum() / crossed.sum()
    if _deviance(as_shape, bought) < _deviance(as_level, bought):
        return Shape.fit(earlier, expected, bought), as_shape
    return None, as_level


def _deviance(mean: Floats, seen: Floats) -> float:
    """Of a Poisson, but for a constant."""
    return float((mean - seen * np.log(np.maximum(mean, 1e-12))).mean())


def _dispersion(mean: Floats, seen: Floats) -> float:
    excess = float(((seen - mean) ** 2 - mean).sum())
    return float(np.clip((mean**2).sum() / max(excess, 1e-9), 0.05, 1e6))


def gini(score: npt.ArrayLike, worth: npt.ArrayLike) -> float:
    """How well a score ranks customers by what they turned out to be worth: 1 = as well as possible, 0 = by chance.

    The area between the concentration curve and the diagonal, relative to that of the best order. Equal scores count as
    one step, whatever their order.
    """
    scores, worths = np.asarray(score, np.float64), np.asarray(worth, np.float64)
    best = _area(worths, worths)
    return _area(scores, worths) / best if best > 0 else 0.0


def _area(score: Floats, worth: Floats) -> float:
    total = worth.sum()
    if not len(worth) or total <= 0:
        return 0.0
    _, step, counts = np.unique(-score, return_inverse=True, return_counts=True)
    customers = np.concatenate([[0], np.cumsum(counts)]) / len(score)
    held = np.concatenate([[0], np.cumsum(np.bincount(step, worth))]) / total
    return float(2 * (np.diff(customers) * (held[1:] + held[:-1]) / 2).sum() - 1)
