"""Challengers stage beside the champion: the same patients, kept apart, seen by nobody but those who judge models."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date
from typing import Any

import attrs
import numpy as np

from gtr_batch.domain.case import PATH, Case, CaseState, Step
from gtr_batch.domain.prepared import ROLES, PreparedGeometry
from gtr_batch.errors import CaseRejected, InputLost, fault_of
from gtr_batch.logs import get_logger
from gtr_batch.night.canary import check
from gtr_batch.night.inputs import judging_retrieved, prepared_contract, prepared_geometry, prepared_slices
from gtr_batch.night.site import Site
from gtr_batch.night.steps import contract_json, prepare_case

Prepared = tuple[np.ndarray, PreparedGeometry, bool]  # slices, where they lie, prepared anew for the challenger


def shadow(site: Site, night: date, shard: Sequence[str]) -> dict[str, int]:
    """Stage a shard with every challenger in shadow.

    The champion's results never wait for this, and no fault in here touches the night: a case that a challenger
    cannot stage is a row with the reason, a challenger that cannot be loaded is a line in the log. Nothing is
    reported or sent. A case that was done before is left alone.

    Returns
    -------
    dict
        Cases staged, by challenger; of one that could not work at all, -1.
    """
    site.check_running()
    check(site, site.model_of(night))
    done: dict[str, int] = {}
    for version in site.model_store.challengers():
        try:
            done[version] = _challenge(site, version, shard)
        except Exception as err:  # noqa: BLE001 - the night is the champion's; its text may hold PHI, so only its place
            done[version] = -1
            get_logger("shadow").error("shadow.failed", model_version=version, night=str(night), error=fault_of(err))
    return done


def _challenge(site: Site, version: str, shard: Sequence[str]) -> int:
    from gtr_batch.stage import AbstainAt, stage_shard

    before = site.shadows.done(shard, version)
    cases = [case for case in site.cases.select(shard) if _staged(case) and case.case_id not in before]
    if not cases:
        return 0
    artefact = site.artefact_by(version)
    stagings = {c.case_id: site.cases.staging(c.case_id) for c in cases}
    # A case that the champion gives no stage is compared with nothing.
    champions = {case_id: s for case_id, s in stagings.items() if s is not None and s.t_stage is not None}
    cases = [case for case in cases if case.case_id in champions]
    prepared: dict[str, Prepared] = {}
    for case in cases:
        try:
            prepared[case.case_id] = prepared_for(site, case, artefact)
        except (
            InputLost
        ) as err:  # the series itself: `retrieve` of the night's next run fetches it, and it is tried again
            site.shadows.save_error(case.case_id, champions[case.case_id], version, str(err))
        except Exception as err:  # noqa: BLE001 - one case; the others go on
            site.shadows.save_error(case.case_id, champions[case.case_id], version, fault_of(err)[:500])
    answers = stage_shard(
        artefact,
        {i: p[0] for i, p in prepared.items()},
        {i: p[1] for i, p in prepared.items()},
        batch_cases=site.config.stage.batch_cases,
        abstain=AbstainAt(site.settings.stage.abstain_level),
    )
    for case_id, answer in answers.items():
        if isinstance(answer, CaseRejected):
            site.shadows.save_error(case_id, champions[case_id], version, answer.sentence)
            continue
        if answer.staging.abstention is not None:
            site.shadows.save_error(case_id, champions[case_id], version, answer.staging.abstention.sentence)
            continue
        site.shadows.save(
            case_id,
            champions[case_id],
            answer.staging,
            answer.features[ROLES.index("key")],
            answer.logits,
            own_preparation=prepared[case_id][2],
        )
    return len(answers)


def prepared_for(site: Site, case: Case, artefact: Any) -> Prepared:
    """A case's slices as this model wants them: the night's own where the contract is the same, else anew.

    Anew means from the retrieved series, at the same key slice: two models are compared on the same picture. What the
    night prepared and is gone or cut is made again first, as the night's own steps make it.

    Raises
    ------
    InputLost
        The retrieved series itself is gone or cut.
    """
    try:
        return _prepared_for(site, case, artefact)
    except InputLost as err:
        if err.back_to == CaseState.FOUND:
            raise
        get_logger("shadow").warning("shadow.prepared_again", case_id=case.case_id, reason=str(err))
    prepare_case(site, case)
    return _prepared_for(site, case, artefact)


def _prepared_for(site: Site, case: Case, artefact: Any) -> Prepared:
    contract = artefact.manifest.contract
    geometry = prepared_geometry(site.files, case)
    if prepared_contract(site.files, case) == contract_json(contract):
        return prepared_slices(site.files, case, contract.size), attrs.evolve(geometry, nearby=()), False
    from gtr_batch.preprocess import prepare_volume, read_series

    with judging_retrieved(site, case):
        volume = read_series(site.files.folder(case.night, case.case_id, Step.RETRIEVE), case.expected_sop_uids)
        index = volume.sop_instance_uids.index(geometry.sop_instance_uids[ROLES.index("key")])
        slices, anew = prepare_volume(volume, index, contract, geometry.key_slice_source, device=artefact.device)
    return slices, attrs.evolve(anew, flags=geometry.flags, apart_mm=geometry.apart_mm), True


def _staged(case: Case) -> bool:
    return case.state is not CaseState.REFUSED and PATH.index(case.reached) >= PATH.index(CaseState.STAGED)
