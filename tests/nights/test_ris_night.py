"""A whole night after which the RIS knows what the PACS knows: the same stage, once."""

from __future__ import annotations

import attrs
import hl7
import pytest

from gtr_batch import night as steps
from gtr_batch import wiring
from gtr_batch.config import Config, RisConfig
from gtr_batch.domain.case import CaseState
from tests.nights.conftest import NIGHT
from tests.ris_receivers import asyncio_receiver


@pytest.mark.slow
def test_after_a_night_the_ris_has_each_committed_result_once(config: Config, admit, enter_in_ehr, fill):
    for name in ("one", "two"):
        admit(name, skip=() if name == "one" else (9, 10))  # the second lacks slices: refused, and no result
        enter_in_ehr(name)
    fill()
    received: list[str] = []

    with asyncio_receiver(received) as port:
        told = attrs.evolve(config, ris=RisConfig(host="127.0.0.1", port=port))
        with wiring.open_site(told) as site:
            shards = steps.intake(site, NIGHT, steps.query_pacs(site, NIGHT))
            for step in steps.SHARD_STEPS:
                for shard in shards:
                    step(site, NIGHT, shard)
            cases = {case.state: case for case in site.cases.of_night(NIGHT)}
            stage = site.cases.staging(cases[CaseState.COMMITTED].case_id)
        sent = [wiring.send_result_messages(told).taken for _ in range(2)]

    [message] = map(hl7.parse, received)
    assert sent == [1, 0]
    assert set(cases) == {CaseState.COMMITTED, CaseState.REFUSED}
    assert str(message.segment("OBR")[3]) == cases[CaseState.COMMITTED].case_id
    assert str(message.segment("OBR")[18]) == "ACC-one"
    shown = str(message.segments("OBX")[0][5])
    assert (f"^c{stage.t_stage}^" in shown) if stage.t_stage else not shown
