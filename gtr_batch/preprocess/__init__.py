"""Preprocess: from a series on disk and its key slice to the network's three slices, by the model's contract."""

from gtr_batch.preprocess.prepare import prepare_all_for_locator, prepare_case, prepare_volume
from gtr_batch.preprocess.volume import Volume, read_series

__all__ = ["Volume", "prepare_all_for_locator", "prepare_case", "prepare_volume", "read_series"]
