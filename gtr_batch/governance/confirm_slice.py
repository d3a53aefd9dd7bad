"""A reader confirms or moves a key slice that was found automatically: the case may then be learnt from."""

from __future__ import annotations

from collections.abc import Sequence

from gtr_batch.domain.case import Case
from gtr_batch.domain.prepared import ROLES
from gtr_batch.domain.slice_confirmation import SliceConfirmation, with_neighbours
from gtr_batch.domain.staging import CaseStaging, KeySliceSource
from gtr_batch.errors import InputRefused
from gtr_batch.governance.known_case import known_case
from gtr_batch.governance.registry import answered_for
from gtr_batch.governance.site import GovernanceSite
from gtr_batch.logs import get_logger

_BELOW, _KEY, _ABOVE = range(3)


def confirm_slice(
    gov: GovernanceSite, case_id: str, *, by: str, why: str, number: int | None = None, instance: str | None = None
) -> SliceConfirmation:
    """Keep a reader's word on the key slice of a case.

    What was delivered stays as it is; cohorts take the case from now on, with this slice and its neighbours.

    Parameters
    ----------
    case_id : str
        The whole id, as ``gtr status --json`` shows it.
    by, why : str
        Who says so, and by what.
    number : int, optional
        *Instance Number* (0020,0013) of the slice that is the key slice, as viewers show it; default: the one found.
    instance : str, optional
        Its SOP Instance UID instead.

    Raises
    ------
    InputRefused
        There is no such case; it is not staged; its key slice was not found automatically; the slice is not one of its
        series; or nobody answers for it. Nothing is kept.
    """
    answered_for(by, why)
    if number is not None and instance is not None:
        raise InputRefused("--slice and --instance name one slice: give one of them")
    case, staging = _staged(gov, case_id)
    slices: tuple[str, ...] = tuple(one.sop_instance_uid for one in staging.slices)
    was = slices[_KEY]
    if number is not None or instance not in (None, was):
        slices = _neighbours(gov, case, slices, number, instance)
    confirmation = SliceConfirmation(case_id, was, slices, by.strip(), why.strip())
    gov.confirmations.confirm(confirmation)
    get_logger("confirm_slice").info("case.slice_confirmed", case_id=case_id, moved=confirmation.moved, by=by.strip())
    return confirmation


def _staged(gov: GovernanceSite, case_id: str) -> tuple[Case, CaseStaging]:
    case = known_case(gov.night.cases, case_id)
    staging = gov.night.cases.staging(case_id)
    if staging is None or len(staging.slices) != len(ROLES):
        raise InputRefused(f"case {case_id} is {case.state} and has no key slice yet")
    if staging.key_slice_source is not KeySliceSource.AUTOMATIC:
        raise InputRefused(f"the key slice of case {case_id} was marked already ({staging.key_slice_source})")
    return case, staging


def _neighbours(
    gov: GovernanceSite, case: Case, found: Sequence[str], number: int | None, instance: str | None
) -> tuple[str, ...]:
    """The slice below, the one that was named and the one above, in the direction of those that were found."""
    listed = gov.night.archive.find_instances(case.study_uid, case.series_uid)
    ordered = sorted((i for i in listed if i.instance_number is not None), key=lambda i: i.instance_number or 0)
    uids = [i.sop_instance_uid for i in ordered]
    numbers = [i.instance_number for i in ordered]
    if len(set(numbers)) != len(listed):
        raise InputRefused(
            f"the PACS does not number the {len(listed)} instances of series {case.series_uid} one by one: the "
            "neighbours of a slice cannot be told; mark it by a key object and restage the case"
        )
    wanted = instance if instance is not None else dict(zip(numbers, uids, strict=True)).get(number)
    if wanted is None or wanted not in uids:
        what = f"instance {instance}" if instance is not None else f"instance number {number}"
        raise InputRefused(f"{what} is not one of the {len(uids)} instances of series {case.series_uid}")
    ends = [uids.index(uid) for uid in (found[_BELOW], found[_ABOVE]) if uid in uids]
    if len(ends) == 2 and ends[0] > ends[1]:
        uids.reverse()
    return with_neighbours(uids, uids.index(wanted))
