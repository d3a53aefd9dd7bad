"""What those who decide about models are given: the night's site, the registry, and a place of their own."""

from __future__ import annotations

from attrs import define

from gtr_batch.night.site import Site
from gtr_batch.ports import ApprovalBook, FileStore, ModelRegistry, RestageBook, SliceConfirmations


@define(slots=False)
class GovernanceSite:
    """`gtr_batch.wiring.open_governance` builds it, tests build it from parts."""

    night: Site
    registry: ModelRegistry
    restages: RestageBook
    approvals: ApprovalBook
    scratch: FileStore  # what a replay writes lies here, never among the nights
    confirmations: SliceConfirmations
