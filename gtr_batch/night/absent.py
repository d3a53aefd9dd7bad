"""What a night is given where a site, a replay or a test has no such thing: it holds nothing and says so."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date
from typing import Any

import numpy as np

from gtr_batch.domain.staging import CaseStaging
from gtr_batch.errors import InputRefused


class NoShadows:
    """Port `ShadowBook` of a run in which nothing stages in shadow."""

    def save(
        self,
        case_id: str,
        champion: CaseStaging,
        challenger: CaseStaging,
        features: np.ndarray,
        logits: np.ndarray,
        *,
        own_preparation: bool = False,
    ) -> None:
        """Nothing is kept."""

    def save_error(self, case_id: str, champion: CaseStaging, model_version: str, error: str) -> None:
        """Nothing is kept."""

    def done(self, case_ids: Sequence[str], model_version: str) -> frozenset[str]:
        """All of them: there is nothing left to do."""
        return frozenset(case_ids)

    def of_night(self, night: date) -> Sequence[Mapping[str, Any]]:
        """None."""
        return []

    def of_model(self, model_version: str) -> Sequence[Mapping[str, Any]]:
        """None."""
        return []


class NoHold:
    """Port `DeliveryHold` of a site where nothing holds reports back."""

    def held(self) -> Mapping[str, str]:
        """None."""
        return {}


class NoSettingsHistory:
    """Port `SettingsBook` of a site without a history of its settings: the file's hold."""

    def current(self) -> Mapping[str, Any]:
        """None: the file's hold."""
        return {}

    def set(self, name: str, value: Any, *, by: str, why: str) -> None:
        """Refused: there is no history to write it into."""
        raise InputRefused(f"setting {name}: this site keeps no history of its settings; change the settings file")

    def history(self) -> Sequence[Mapping[str, Any]]:
        """None."""
        return []

    def note_opening(self, night: date, model_version: str, digest: str, settings: Mapping[str, Any]) -> None:
        """Nothing is kept."""

    def snapshot(self, digest: str) -> Mapping[str, Any]:
        """There is none: KeyError."""
        raise KeyError(digest)

    def made_under(self, case_id: str) -> Mapping[str, Any] | None:
        """Not known."""
        return None
