"""The whole service stopped and resumed by a person, with name and reason."""

from __future__ import annotations

from typing import Protocol

from gtr_batch.domain.switch import SwitchAction, SwitchEvent
from gtr_batch.errors import GovernanceRefused
from gtr_batch.governance.registry import answered_for
from gtr_batch.logs import get_logger
from gtr_batch.ports import StopSwitch


class Switched(Protocol):
    """A site that has the stop switch, and a way to tell operations."""

    @property
    def switch(self) -> StopSwitch:
        """The stop switch."""

    def alert(self, subject: str, text: str, /) -> None:
        """Tell operations at once."""


def stop(site: Switched, *, by: str, why: str) -> SwitchEvent:
    """From this moment nothing is staged and nothing is sent, whoever asks for it and wherever it runs.

    A case that is in work is not written any more, and of a report of several objects no further one is sent. A service
    that is stopped already is stopped once more: both reasons stay, and one resume ends it.
    """
    answered_for(by, why)
    site.switch.decide(SwitchAction.STOP, by=by.strip(), why=why.strip())
    found = site.switch.stopped()
    assert found is not None  # what was just written
    get_logger("service").warning("service.stopped", by=found.by_whom, why=found.why)
    site.alert("service stopped", f"{found.sentence}. Nothing is staged or sent until `gtr resume`")
    return found


def resume(site: Switched, *, by: str, why: str) -> SwitchEvent:
    """Let the service work again; what was not done meanwhile is done when its night is run again. Returns the stop.

    Raises
    ------
    GovernanceRefused
        It is not stopped.
    """
    answered_for(by, why)
    found = site.switch.stopped()
    if found is None:
        raise GovernanceRefused("the service is not stopped: there is nothing to resume")
    site.switch.decide(SwitchAction.RESUME, by=by.strip(), why=why.strip())
    get_logger("service").warning("service.resumed", by=by.strip(), why=why.strip())
    site.alert("service resumed", f"resumed by {by.strip()}: {why.strip()}. Run the nights again that were held up")
    return found
