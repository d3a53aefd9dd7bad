"""Options that the commands of `gtr model` share."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from gtr_batch.governance.site import GovernanceSite

Json = Annotated[bool, typer.Option("--json", help="JSON on standard output.")]
Version = Annotated[str, typer.Argument(help="Version, or the digits that it begins with.")]
By = Annotated[str, typer.Option(help="Your name: who answers for this.")]
Why = Annotated[str, typer.Option(help="Why; kept permanently.")]
Shown = Annotated[str, typer.Option(help="The champion that you were shown (`gtr model list`), or 'none'.")]


def shown_champion(gov: GovernanceSite, digits: str) -> str | None:
    """The champion that the person was shown; None for 'none'."""
    from gtr_batch.governance.registry import find

    return None if digits == "none" else find(gov.registry, digits)


def cards_of(gov: GovernanceSite, *versions: str | None, by: str) -> None:
    """Write the cards of these models anew, after a decision about them."""
    from gtr_batch.governance.card import rewrite_cards

    rewrite_cards(gov.registry, gov.night.config.training.models, versions, by=by)
