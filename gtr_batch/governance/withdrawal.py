"""Withdrawal: a model never stages again, and every report of it that a hospital still reads is superseded.

Two steps, each of a person: the withdrawal itself, which takes effect at once, and the notices to the PACS, which
somebody approves after having seen the list of them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime
from pathlib import Path
from zoneinfo import ZoneInfo

from gtr_batch.domain.case import Case, Step
from gtr_batch.domain.delivery import ObjectKind, ReportObject
from gtr_batch.domain.lifecycle import CHAMPION, MAY_BECOME, WITHDRAWN, Change, NoticesSent, ReportOfModel
from gtr_batch.domain.model import ModelManifest
from gtr_batch.errors import GovernanceRefused, GtrError, ServiceStopped
from gtr_batch.governance.promotion import gate_passed
from gtr_batch.governance.registry import answered_for, check_registered, known
from gtr_batch.logs import get_logger
from gtr_batch.night.identity import tell_operations
from gtr_batch.night.site import Site
from gtr_batch.night.word_reports import report_file
from gtr_batch.ports import ModelRegistry

log = get_logger("governance")
Progress = Callable[[int, int], None]


def withdraw(
    registry: ModelRegistry,
    version: str,
    *,
    by: str,
    why: str,
    shown: str | None,
    successor: str | None = None,
    no_successor: bool = False,
) -> None:
    """Withdraw a model for good; where it is the champion, name who stages from now on, or say that nobody does.

    Parameters
    ----------
    shown : str or None
        The champion that the person was shown.
    successor : str, optional
        A model that was champion before, or that passed the gate against this champion.
    no_successor : bool
        Nights refuse to stage until somebody promotes a model.

    Raises
    ------
    GovernanceRefused
        Neither successor nor `no_successor`; a successor without a gate; the registry changed meanwhile. Nothing is
        changed.
    ModelArtefactError
        The successor's files are gone or changed.
    """
    answered_for(by, why)
    model = known(registry, version)
    champion = registry.champion()
    if champion != shown:
        raise GovernanceRefused(
            f"withdrawal of {version[:12]}: the champion is {_short(champion)} by now, shown was {_short(shown)}; "
            f"nothing is changed. Look again, then decide again"
        )
    if WITHDRAWN not in MAY_BECOME[model.state]:
        last = [e for e in registry.history(version) if e.to_state == WITHDRAWN][-1]
        raise GovernanceRefused(
            f"model {version[:12]} was withdrawn already, by {last.by_whom} on {last.at:%Y-%m-%d %H:%M} UTC; "
            f"nothing is changed"
        )
    changes = [Change(version, "withdraw", model.state, WITHDRAWN)]
    if model.state != CHAMPION:
        if successor or no_successor:
            raise GovernanceRefused(
                f"model {version[:12]} is {model.state}, not the champion: its withdrawal needs no word about a "
                f"successor; nothing is changed"
            )
    elif bool(successor) == no_successor:
        raise GovernanceRefused(
            f"model {version[:12]} is the champion: name the model that stages from now on, or say that none does; "
            f"nothing is changed"
        )
    elif successor:
        changes.append(_successor(registry, successor, version))
    registry.change(changes, champion=champion, by=by, why=why)
    log.info("model.withdrawn", model_version=version, successor=successor or "", by=by)


def _successor(registry: ModelRegistry, successor: str, withdrawn: str) -> Change:
    if successor == withdrawn:
        raise GovernanceRefused(f"model {withdrawn[:12]} cannot succeed itself; nothing is changed")
    model = check_registered(registry, successor)
    if CHAMPION not in MAY_BECOME[model.state]:
        raise GovernanceRefused(f"model {successor[:12]} is {model.state} and cannot stage; nothing is changed")
    if not any(e.to_state == CHAMPION for e in registry.history(successor)):
        gate_passed(registry, successor, withdrawn)
    return Change(successor, "promote", model.state, CHAMPION)


def affected(registry: ModelRegistry, version: str) -> list[ReportOfModel]:
    """Every structured report that a version produced; `InputRefused` where the version is not registered."""
    known(registry, version)
    return list(registry.reports(version))


def due_of(site: Site, rows: Sequence[ReportOfModel]) -> list[ReportOfModel]:
    """The reports of which something has yet to reach the PACS, by this site's settings (`report.reject_withdrawn`)."""
    return [row for row in rows if row.is_due(site.settings.report.reject_withdrawn)]


def send_notices(
    site: Site, registry: ModelRegistry, version: str, approved: Sequence[str], *, progress: Progress | None = None
) -> NoticesSent:
    """Supersede the reports of a withdrawn model that a person approved, in the PACS; and reject them, where wanted.

    Every notice is written, noted and delivered alone, so this can be cut off and run again: what the PACS has is not
    sent twice. Of a report whose study was deleted from the PACS it is noted that it is gone; it is not due any more.

    Parameters
    ----------
    approved : sequence of str
        SOP Instance UIDs of the reports, as the person was shown them.

    Returns
    -------
    NoticesSent

    Raises
    ------
    GovernanceRefused
        The model is not withdrawn, or what is due is not what was approved. Nothing is sent.
    ServiceStopped
        A person has stopped the service, perhaps in the middle.
    """
    model = known(registry, version)
    if model.state != WITHDRAWN:
        raise GovernanceRefused(
            f"model {version[:12]} is {model.state}: its reports stand. Withdraw it first; nothing is sent"
        )
    rows = affected(registry, version)
    due = due_of(site, rows)
    wanted = {row.sop_instance_uid for row in due}
    known_rows = {row.sop_instance_uid for row in rows}
    if not wanted <= set(approved) <= known_rows:
        raise GovernanceRefused(
            f"{len(wanted)} reports of model {version[:12]} are to be superseded by now, approved were "
            f"{len(set(approved))}; nothing is sent. Look at the list again, then approve it"
        )
    at = [e for e in registry.history(version) if e.to_state == WITHDRAWN][-1].at
    local = at.astimezone(ZoneInfo(site.config.night.timezone)).replace(tzinfo=None, microsecond=0)
    manifest = ModelManifest.from_json(model.manifest)
    failed: dict[str, str] = {}
    gone: list[str] = []
    for number, row in enumerate(due, 1):
        try:
            site.check_running()
            if _is_gone(site, row):
                registry.save_gone(row.sop_instance_uid, version)
                gone.append(row.sop_instance_uid)
                log.warning("withdrawal.report_gone", case_id=row.case_id)
                continue
            if row.due:
                _supersede(site, registry, row, manifest=manifest, version=version, withdrawn_at=local)
            if site.settings.report.reject_withdrawn and row.is_to_be_rejected:
                _reject(site, registry, row, manifest=manifest, version=version, withdrawn_at=local)
        except ServiceStopped:
            raise
        except GtrError as err:
            failed[row.sop_instance_uid] = f"{type(err).__name__}: {err}"
            tell_operations(site, row.case_id, Step.DELIVER, err)
            log.error("withdrawal.not_sent", case_id=row.case_id, error=str(err))
        finally:
            if progress is not None:
                progress(number, len(due))
    sent = len(due) - len(failed) - len(gone)
    return NoticesSent(sent=sent, already=len(set(approved) - wanted), failed=failed, gone=tuple(gone))


def _is_gone(site: Site, row: ReportOfModel) -> bool:
    """Whether the PACS lists neither the study nor the report; a notice would make the deleted study anew."""
    if site.archive.find_study(row.study_uid):
        return False
    return not site.archive.present(row.study_uid, row.series_uid, [row.sop_instance_uid])


def _supersede(
    site: Site,
    registry: ModelRegistry,
    row: ReportOfModel,
    *,
    manifest: ModelManifest,
    version: str,
    withdrawn_at: datetime,
) -> None:
    from gtr_batch.report import write_withdrawal

    case, folder, old = _about(site, row)
    notice = write_withdrawal(
        folder,
        case=case,
        report_file=report_file(site, case, old, folder),
        superseded=old,
        manifest=manifest,
        model_version=version,
        withdrawn_at=withdrawn_at,
        config=site.settings.report,
    )
    _send(
        site, case, folder, notice, lambda: registry.save_notice(old.sop_instance_uid, version, notice.sop_instance_uid)
    )


def _reject(
    site: Site,
    registry: ModelRegistry,
    row: ReportOfModel,
    *,
    manifest: ModelManifest,
    version: str,
    withdrawn_at: datetime,
) -> None:
    """Reject a report and its pictures in the PACS, after the notice that names it."""
    from gtr_batch.report import write_rejection

    case, folder, old = _about(site, row)
    made = write_rejection(
        folder,
        case=case,
        report_file=report_file(site, case, old, folder),
        rejected=old,
        beside=registry.pictures(case.case_id, version),
        manifest=manifest,
        model_version=version,
        withdrawn_at=withdrawn_at,
        config=site.settings.report,
    )
    _send(
        site, case, folder, made, lambda: registry.save_rejection(old.sop_instance_uid, version, made.sop_instance_uid)
    )


def _about(site: Site, row: ReportOfModel) -> tuple[Case, Path, ReportObject]:
    """The case of a report, the folder of its reports, and the report as the case book has it."""
    case = site.cases.get(row.case_id)
    return case, site.files.folder(case.night, case.case_id, Step.REPORT), _as_object(row)


def _send(site: Site, case: Case, folder: Path, written: ReportObject, note: Callable[[], None]) -> None:
    """Keep an object about a report in the case book, note of which report it is, and deliver it alone."""
    from gtr_batch.deliver import Parcel, deliver_case

    with site.cases.step(case.case_id, Step.REPORT) as record:
        record.writes([written])
    note()
    deliver_case(site.archive, site.deliveries, Parcel(case, [written], folder), site.config.pacs)


def _as_object(row: ReportOfModel) -> ReportObject:
    return ReportObject(
        ObjectKind.STRUCTURED_REPORT,
        row.sop_class_uid,
        row.sop_instance_uid,
        row.series_uid,
        row.file,
        row.content_digest,
    )


def _short(version: str | None) -> str:
    return version[:12] if version else "none"
