"""Preprocess: from a series on disk and its key slice to the network's three slices, by the model's contract."""

from gtr_batch.preprocess.key_slice import KeySlice, find_key_slice
from gtr_batch.preprocess.prepare import prepare_all_for_locator, prepare_case, prepare_volume
from gtr_batch.preprocess.series import read_series
from gtr_batch.preprocess.volume import Volume

__all__ = [
    "KeySlice",
    "Volume",
    "find_key_slice",
    "prepare_all_for_locator",
    "prepare_case",
    "prepare_volume",
    "read_series",
]
