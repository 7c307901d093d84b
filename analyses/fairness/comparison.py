"""The figures of one metric for all groups of a partition: each its own, and each against all others."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from analyses.fairness import significance
from analyses.fairness.groups import FEW
from analyses.fairness.intervals import newcombe, newcombe_paired, square_and_add, wilson
from analyses.fairness.metrics import Floats, Metric, Value, matrix
from analyses.fairness.resampling import bootstrap, permutation, split, sums_of

TAIL, ODDS, ODDS_MARGIN = "p95_error", "equalized_odds", 0.05
ROUNDING = 1e-6  # of a permuted figure, which is of single precision: a tie should count as one

Cells = list[tuple[int, ...]]  # of each group, see Compared._cells
Columns = dict[str, Any]  # of a part of the audit's table: arrays of one length, or one value for all rows


@dataclass(frozen=True)
class Settings:
    seed: int
    replicates: int
    level: float
    margins: dict[str, float]


@dataclass(frozen=True)
class Block:
    """What metrics that share statistics are computed from, of one task and mask.

    faces (N,); statistics (N, S), or of a change (N, 2 S), masked then bare; classes: their names.
    """

    task: str
    mask: str
    change: bool
    metrics: dict[str, Metric]
    faces: NDArray[np.integer]
    statistics: Floats
    classes: tuple[str, ...] = ()


class Compared:
    """The groups of one partition, as they are, drawn again, and mixed at random. rows: group by group."""

    def __init__(
        self, block: Block, names: tuple[str, ...], rows: Floats, sizes: NDArray[np.integer], settings: Settings
    ) -> None:
        self.block, self.names, self.rows, self.sizes, self.settings = block, names, rows, sizes, settings
        self.sums = sums_of(rows, sizes)
        self.drawn = bootstrap(rows, sizes, settings.replicates, settings.seed)
        self.several = len(sizes) > 1 and len(rows) > 0
        if self.several:
            self.mixed = permutation(rows, sizes, settings.replicates, settings.seed)

    def parts(self) -> Iterator[Columns]:
        def margin(name: str, usual: float) -> float:
            return self.settings.margins.get(name, usual)

        for name, metric in self.block.metrics.items():
            for part in self._of_metric(metric):
                yield {"metric": name, "better": metric.better, "margin": margin(name, metric.margin), **part}
        if "mae" in self.block.metrics and not self.block.change:
            yield {"metric": TAIL, "better": "lower", "margin": margin(TAIL, np.nan), **self._tail()}
        if "accuracy" in self.block.metrics and not self.block.change and self.several:
            for part in self._odds():
                yield {"metric": ODDS, "better": "lower", "margin": margin(ODDS, ODDS_MARGIN), **part}

    def _of_metric(self, metric: Metric) -> Iterator[Columns]:
        half = self.rows.shape[1] // (2 if self.block.change else 1)

        def measure(sums: Floats) -> Floats:
            with np.errstate(invalid="ignore", divide="ignore"):
                value = metric.value(sums[..., :half])
                return value - metric.value(sums[..., half:]) if self.block.change else value

        def count(sums: Floats) -> NDArray[np.integer]:
            return np.round(metric.n(sums[..., :half])).astype(int)

        statistic = "change" if self.block.change else "value"
        n, value, drawn = count(self.sums), measure(self.sums), measure(self.drawn)
        own = {"value": value, **self._interval(value, drawn, n, metric)}
        own |= self._tested(value, drawn) if self.block.change else {}
        cells = None if metric.hits is None else self._cells(metric.hits, metric.n)
        own |= {} if cells is None else self._own_shares(cells)
        if not self.several:
            yield self._part(statistic, own, n)
            return
        mixed, total = measure(self.mixed), self.sums.sum(axis=0)
        yield self._part(statistic, own if self.block.change else own | self._band(mixed), n)

        others = total - self.sums
        n_others = count(others)
        gap = value - measure(others)
        gap_drawn = drawn - measure(self.drawn.sum(axis=0) - self.drawn)
        gap_mixed = mixed - measure(total - self.mixed)
        of_gap = {"value": gap, **self._band(gap_mixed), **self._tested(gap, gap_drawn, gap_mixed)}
        if not metric.inflated:  # what chance adds to each of the two depends on the unknown truth
            of_gap |= self._interval(gap, gap_drawn, np.minimum(n, n_others), metric)
        of_gap |= {} if cells is None else self._gap_shares(cells)
        yield self._part("change_gap" if self.block.change else "gap", of_gap, n, n_others)
        if not self.block.change:
            yield from self._summary(metric, value, drawn, mixed, n)

    def _own_shares(self, cells: Cells) -> Columns:
        """What is sharper for a share: its score interval; of a change its paired interval and exact test."""
        level = self.settings.level
        if not self.block.change:
            return self._bounds(wilson(hits, hits + misses, level) for hits, misses in cells)
        p = [significance.mcnemar(masked, bare) for _, masked, bare, _ in cells]
        return {"p_value": np.array(p), **self._bounds(newcombe_paired(of_group, level) for of_group in cells)}

    def _gap_shares(self, cells: Cells) -> Columns:
        level = self.settings.level
        others = np.array(cells).sum(axis=0) - cells
        pairs = list(zip(cells, others.tolist(), strict=True))
        if not self.block.change:
            shares = [(hits, hits + misses, other, other + others) for (hits, misses), (other, others) in pairs]
            p = [significance.two_shares(*of_group) for of_group in shares]
            return {"p_value": np.array(p), **self._bounds(newcombe(*of_group, level) for of_group in shares)}

        def change(cells: Sequence[int]) -> tuple[float, tuple[float, float]]:
            return (cells[1] - cells[2]) / max(sum(cells), 1), newcombe_paired(cells, level)

        return self._bounds(square_and_add(*change(of_group), *change(of_others)) for of_group, of_others in pairs)

    def _cells(self, hits: Value, n: Value) -> Cells:
        """Of each group: hits and misses; of a change hits in both, masked alone, bare alone, neither."""
        halves = np.split(self.rows, 2 if self.block.change else 1, axis=1)
        first, second, known = hits(halves[0]), hits(halves[-1]), n(halves[0])
        cells = [first, known - first]
        if self.block.change:
            cells = [first * second, first * (1 - second), (1 - first) * second, (1 - first) * (1 - second)]
        counts = sums_of(np.stack(cells, axis=1) * known[:, None], self.sizes)
        return [tuple(of_group) for of_group in np.round(counts).astype(int).tolist()]

    def _summary(
        self, metric: Metric, value: Floats, drawn: Floats, mixed: Floats, n: NDArray[np.integer]
    ) -> Iterator[Columns]:
        """Of the groups that are large enough, where there are two of them."""
        enough = np.flatnonzero((n >= FEW) & ~np.isnan(value))
        if len(enough) < 2:
            return
        value, drawn, mixed, n = value[enough], drawn[enough], mixed[enough], n[enough]
        names, total = [self.names[group] for group in enough], n.sum()
        bad = {"higher": -value, "lower": value, "zero": np.abs(value)}[metric.better]
        worst, best = int(bad.argmax()), int(bad.argmin())
        yield {"statistic": "worst", "group": names[worst], "value": value[worst], "n": n[worst]}
        first, last = (int(value.argmin()), int(value.argmax())) if metric.better == "zero" else (worst, best)
        ends = f"{names[first]} to {names[last]}"
        yield self._range(ends, float(np.ptp(value)), np.ptp(mixed, axis=0), np.ptp(drawn, axis=0), total)
        mean = value.mean(keepdims=True)
        bounds = self._interval(mean, drawn.mean(axis=0)[None], n.min(keepdims=True), metric)
        yield {"statistic": "mean_of_groups", "group": "all groups", "value": mean, "n": n.sum(keepdims=True), **bounds}
        if metric.better == "zero":
            return
        if value.max() > 0:
            ends = f"{names[int(value.argmin())]} to {names[int(value.argmax())]}"
            yield {"statistic": "ratio", "group": ends, "value": value.min() / value.max(), "n": total}
        wrong = 1 - value if metric.better == "higher" else value
        if (wrong > 0).all():
            ratio = wrong.max() / np.exp(np.log(wrong).mean())
            yield {"statistic": "max_to_geomean", "group": names[worst], "value": ratio, "n": total}

    def _range(self, group: str, value: float, mixed: Floats, drawn: Floats, n: int) -> Columns:
        mixed, drawn = mixed[~np.isnan(mixed)], drawn[~np.isnan(drawn)]
        return {
            "statistic": "range",
            "group": group,
            "value": value,
            "n": n,
            "null_high": np.quantile(mixed, self.settings.level) if len(mixed) else np.nan,
            "p_value": (1 + (mixed >= value - ROUNDING).sum()) / (1 + len(mixed)),
            # chance widens a range, so that this bound errs to the safe side
            "bound": np.quantile(drawn, (1 + self.settings.level) / 2) if len(drawn) else np.nan,
        }

    def _odds(self) -> Iterator[Columns]:
        """Multiclass equalized odds (Hardt et al. 2016, one class against the rest): the largest range over groups of a
        class's true or false positive rate, among groups with at least FEW faces to divide by."""

        def rates(sums: Floats) -> tuple[Floats, Floats]:
            cells = matrix(sums)
            hits, of_class, read = np.diagonal(cells, axis1=-2, axis2=-1), cells.sum(axis=-1), cells.sum(axis=-2)
            above = np.concatenate([hits, read - hits], axis=-1)
            return above, np.concatenate([of_class, cells.sum(axis=(-2, -1))[..., None] - of_class], axis=-1)

        above, below = rates(self.sums)
        enough = below >= FEW
        columns = np.flatnonzero(enough.sum(axis=0) >= 2)
        if not len(columns):
            return

        def ranges(above: Floats, below: Floats) -> Floats:
            with np.errstate(invalid="ignore", divide="ignore"):
                share = np.where(enough[:, None], above / below, np.nan)[..., columns]
            return np.nanmax(share, axis=0) - np.nanmin(share, axis=0)

        found = ranges(above[:, None], below[:, None])[0]
        of_class, k = divmod(int(columns[found.argmax()]), len(self.block.classes))
        group = f"{('true', 'false')[of_class]} positive rate of {self.block.classes[k]}"
        mixed, drawn = (ranges(*rates(sums)).max(axis=-1) for sums in (self.mixed, self.drawn))
        yield self._range(group, found.max(), mixed, drawn, int(self.sums.sum()))

    def _tail(self) -> Columns:
        """95th percentile of the absolute error, between two order statistics (David and Nagaraja 2003, 7.1)."""
        from scipy.stats import binom

        rows = [np.sort(part[:, 1]) for part in split(self.rows, self.sizes)]
        n = np.array([len(part) for part in rows])
        value = np.array([np.quantile(part, 0.95) if len(part) else np.nan for part in rows])
        ends = []
        for part in rows:
            low, high = binom.interval(self.settings.level, len(part), 0.95) if len(part) else (0, 0)
            ends.append((part[max(int(low) - 1, 0)], part[int(high)]) if int(high) < len(part) else (np.nan, np.nan))
        return self._part("value", {"value": value, **self._bounds(ends)}, n)

    def _interval(self, value: Floats, drawn: Floats, n: NDArray[np.integer], metric: Metric) -> Columns:
        """Percentiles, farther out in small groups by Student's law (expanded percentile interval, Hesterberg 2015).

        Without the bootstrap's bias where chance adds to the metric.
        """
        from scipy.stats import norm, t

        n = np.maximum(n, 2)
        tail = norm.cdf(-np.sqrt(n / (n - 1)) * t.ppf((1 + self.settings.level) / 2, n - 1))
        low, high = _quantiles(drawn, np.stack([tail, 1 - tail], axis=1))
        if metric.inflated:
            shift = _moments(drawn)[0] - value
            low, high = low - shift, high - shift
            low, high = (bound if self.block.change else np.maximum(bound, 0) for bound in (low, high))
        same = low == high
        return {"ci_low": np.where(same, np.nan, low), "ci_high": np.where(same, np.nan, high)}

    def _band(self, mixed: Floats) -> dict[str, Floats]:
        ends = (1 - self.settings.level) / 2, (1 + self.settings.level) / 2
        low, high = _quantiles(mixed, np.broadcast_to(ends, (len(mixed), 2)))
        return {"null_low": low, "null_high": high}

    def _bounds(self, pairs: Iterable[tuple[float, float]]) -> dict[str, Floats]:
        low, high = np.array(list(pairs), dtype=float).reshape(-1, 2).T
        return {"ci_low": low, "ci_high": high}

    def _tested(self, difference: Floats, drawn: Floats, mixed: Floats | None = None) -> dict[str, Floats]:
        """By the normal law about what chance gives, which is not 0 for a metric with a bias in small groups."""
        _, error = _moments(drawn)
        chance = np.zeros_like(error)
        if mixed is not None:
            chance, mixed_error = _moments(mixed)
            error = np.fmax(error, mixed_error)
        with np.errstate(invalid="ignore", divide="ignore"):
            z = (difference - chance) / error
        z = np.where((error == 0) & (difference == 0), 0, z)
        return {"p_value": significance.normal(z), "detectable": self._detectable(error)}

    def _detectable(self, error: Floats) -> Floats:
        return np.where(error > 0, significance.power_factor(self.settings.level) * error, np.nan)

    def _part(
        self, statistic: str, columns: Columns, n: NDArray[np.integer], others: NDArray[np.integer] | None = None
    ) -> Columns:
        """A row a group; figures only where it, and what it is compared with, have at least FEW faces."""
        few = n < FEW if others is None else (n < FEW) | (others < FEW)
        figures = {name: np.where(few, np.nan, values) for name, values in columns.items()}
        return {"statistic": statistic, "group": np.array(self.names, dtype=object), "n": n, **figures}


def _moments(values: Floats) -> tuple[Floats, Floats]:
    """Mean and standard deviation over the last axis without NaN; NaN of nothing."""
    known = ~np.isnan(values)
    n, values = known.sum(axis=-1), np.where(known, values, 0)
    with np.errstate(invalid="ignore"):
        mean = values.sum(axis=-1, dtype=np.float64) / n
        return mean, np.sqrt((((values - mean[..., None]) * known) ** 2).sum(axis=-1, dtype=np.float64) / n)


def _quantiles(values: Floats, chances: Floats) -> tuple[Floats, Floats]:
    """Of each row of values (G, R) without NaN, at chances (G, 2): two of (G,), NaN where there is no value."""
    ranked = np.sort(values, axis=-1)  # NaN last
    at = chances * ((~np.isnan(values)).sum(axis=-1, keepdims=True) - 1)
    below = np.floor(at).astype(int)
    low, high = (np.take_along_axis(ranked, index, axis=-1) for index in (below, np.ceil(at).astype(int)))
    found = low + (at - below) * (high - low)
    return found[:, 0], found[:, 1]
