"""How well a model serves each group of faces. Groups are annotations of pictures, not identities of people."""

from analyses.fairness.audit import audit
from analyses.fairness.groups import AGE_BANDS, UNLABELLED, age_band, group_table
from analyses.fairness.intervals import bootstrap_mean, wilson

__all__ = ["AGE_BANDS", "UNLABELLED", "age_band", "audit", "bootstrap_mean", "group_table", "wilson"]
