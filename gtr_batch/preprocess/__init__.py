"""Preprocess: from a series on disk and its key slice to the network's three slices, by the model's contract.

Who reads a series alone, as the report does, imports neither torch nor SimpleITK: what needs them comes with
`gtr_batch.preprocess.prepare`, when it is first asked for.
"""

from typing import TYPE_CHECKING, Any

from gtr_batch.preprocess.key_slice import KeySlice, find_key_slice
from gtr_batch.preprocess.series import read_series
from gtr_batch.preprocess.volume import Volume

if TYPE_CHECKING:
    from gtr_batch.preprocess.prepare import prepare_all_for_locator, prepare_case, prepare_volume

__all__ = [
    "KeySlice",
    "Volume",
    "find_key_slice",
    "prepare_all_for_locator",
    "prepare_case",
    "prepare_volume",
    "read_series",
]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from gtr_batch.preprocess import prepare

    return getattr(prepare, name)
