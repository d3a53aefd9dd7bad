"""A night while others work on the same cases and files: a replay with another model, and housekeeping."""

from __future__ import annotations

import threading
from datetime import timedelta

import pytest

from gtr_batch import night as steps
from gtr_batch.governance import restage
from gtr_batch.governance.registry import adopt, register_artefact
from gtr_batch.wiring import open_governance, open_site
from tests.nights.conftest import NIGHT
from tests.nights.test_night import in_the_pacs, run

WHO = {"by": "Ada", "why": "a test"}


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_night_beside_a_replay_and_a_housekeeping_is_as_if_it_was_alone(
    config, gov, admit, enter_in_ehr, fill, recorded, challenger
):
    """The replay reads what an earlier run of the night left; housekeeping is that of the next day."""
    adopt(gov.registry, config.training.models, recorded, **WHO)
    other = register_artefact(gov.registry, config.training.models, challenger, **WHO)
    admit("one")
    enter_in_ehr("one")
    fill()
    with open_site(config) as site:
        run(site)
        [first] = site.cases.of_night(NIGHT)
    for name in ("two", "three"):
        admit(name)
        enter_in_ehr(name)
    fill()
    done, broken, replays, swept = threading.Event(), [], [], []

    def until_done(work):
        try:
            work()
            while not done.wait(0.2):
                work()
        except Exception as err:  # noqa: BLE001 - told below, in the test's own thread
            broken.append(err)

    def replay():
        with open_governance(config) as mine:
            replays.append(restage.compare(mine, other, case_ids=[first.case_id]).digest)

    def housekeeping():
        with open_site(config) as mine:
            swept.append(steps.housekeeping(mine, NIGHT + timedelta(days=1))["spared"])

    beside = [threading.Thread(target=until_done, args=[work]) for work in (replay, housekeeping)]
    for one in beside:
        one.start()
    try:
        with open_site(config) as site:
            summary = run(site)
    finally:
        done.set()
        for one in beside:
            one.join()

    assert broken == []
    assert summary["states"] == {"committed": 3}
    assert len(set(replays)) == 1
    assert swept and set(map(tuple, swept)) == {()}
    with open_site(config) as site:
        for case in site.cases.of_night(NIGHT):
            assert in_the_pacs(site, case.study_uid) == {"CT": 22, "SR": 1, "OT": 2, "KO": 1}
