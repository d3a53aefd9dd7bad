"""What those who decide about models are given: the night's house, the registry, and a place of their own."""

from __future__ import annotations

from attrs import define

from gtr_batch.night.house import House
from gtr_batch.ports import FileStore, ModelRegistry, RestageBook


@define(slots=False)
class GovernanceHouse:
    """`gtr_batch.wiring.open_governance` builds it, tests build it from parts."""

    night: House
    registry: ModelRegistry
    restages: RestageBook
    scratch: FileStore  # what a replay writes lies here, never among the nights
