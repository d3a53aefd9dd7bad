"""What a night is given where a site, a replay or a test has no such thing: it holds nothing and says so."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date, datetime

import numpy as np

from gtr_batch.domain.governed_settings import NightOpening, SettingChange, SettingValue
from gtr_batch.domain.notice import Notice, WaitingNotice
from gtr_batch.domain.shadow import ShadowAnswer
from gtr_batch.domain.staging import CaseStaging
from gtr_batch.domain.switch import SwitchAction, SwitchEvent
from gtr_batch.errors import InputRefused
from gtr_batch.ports import NoticeChannel


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

    def of_night(self, night: date) -> Sequence[ShadowAnswer]:
        """None."""
        return []

    def of_model(self, model_version: str) -> Sequence[ShadowAnswer]:
        """None."""
        return []


class NoHold:
    """Port `DeliveryHold` of a site where nothing holds reports back."""

    def held(self) -> Mapping[str, str]:
        """None."""
        return {}


class NoSwitch:
    """Port `StopSwitch` of a site that nobody can stop."""

    def stopped(self) -> SwitchEvent | None:
        """It runs."""
        return None

    def decide(self, action: SwitchAction, *, by: str, why: str) -> None:
        """Refused: there is nowhere to write it."""
        raise InputRefused(f"to {action} this site is not possible: it has no database that would keep it")

    def history(self) -> Sequence[SwitchEvent]:
        """None."""
        return []


class NoNotices:
    """Port `Notices` of a site that tells nobody."""

    def raise_(self, notice: Notice, channels: Sequence[str]) -> bool:
        """Nothing is kept."""
        return False

    def send(self, channel: NoticeChannel) -> int:
        """None."""
        return 0

    def waiting(self) -> Sequence[WaitingNotice]:
        """None."""
        return []

    def note_look(self, at: datetime) -> None:
        """Nothing is kept."""

    def last_look(self) -> datetime | None:
        """Never."""
        return None


class NoSettingsHistory:
    """Port `SettingsBook` of a site without a history of its settings: the file's hold."""

    def current(self) -> Mapping[str, SettingValue]:
        """None: the file's hold."""
        return {}

    def set(self, name: str, value: SettingValue | None, *, by: str, why: str) -> None:
        """Refused: there is no history to write it into."""
        raise InputRefused(f"setting {name}: this site keeps no history of its settings; change the settings file")

    def history(self) -> Sequence[SettingChange]:
        """None."""
        return []

    def note_opening(self, night: date, model_version: str, digest: str, settings: Mapping[str, SettingValue]) -> None:
        """Nothing is kept."""

    def snapshot(self, digest: str) -> Mapping[str, SettingValue]:
        """There is none: KeyError."""
        raise KeyError(digest)

    def made_under(self, case_id: str) -> NightOpening | None:
        """Not known."""
        return None
