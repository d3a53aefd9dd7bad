"""What one check of `gtr doctor` found."""

from __future__ import annotations

from attrs import frozen


@frozen
class Finding:
    """One check: `state` is ok, warn or red; `mend` says how, where it is not ok."""

    check: str
    state: str
    found: str
    mend: str = ""
