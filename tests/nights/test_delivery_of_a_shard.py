"""A shard's reports over one association, and committed by one request; a fault costs the case that it is about."""

from __future__ import annotations

from collections.abc import Callable

import attrs
import pytest
from pydicom import Dataset, FileMetaDataset, dcmread
from pydicom.uid import Comprehensive3DSRStorage, KeyObjectSelectionDocumentStorage

from gtr_batch.domain.case import Case, CaseState, Step
from gtr_batch.domain.delivery import ObjectKind
from gtr_batch.domain.identifiers import case_id
from gtr_batch.domain.prepared import KeySliceSource
from gtr_batch.domain.staging import CaseStaging, StageProbabilities, TStage
from gtr_batch.errors import CasesToRetry
from gtr_batch.night import steps
from gtr_batch.night.close import ask_again
from gtr_batch.night.runner import Shard
from gtr_batch.pacs import Pacs
from gtr_batch.report.identity import NO_UID, write_object
from tests.adapters.pacs.peers import HostilePacs
from tests.adapters.pacs.test_pacs_commitment import same_association
from tests.nights.conftest import NIGHT
from tests.nights.small_site import MODEL, slices, small_site_at

NAMES = ("first", "second", "third", "fourth")
KINDS = {
    ObjectKind.KEY_OBJECTS: KeyObjectSelectionDocumentStorage,
    ObjectKind.STRUCTURED_REPORT: Comprehensive3DSRStorage,
}
P = StageProbabilities((0.1, 0.2, 0.6, 0.1))


class Peer(HostilePacs):
    """A PACS that commits on the association of the request, all but `fails`; notes what it took, and was asked for."""

    def __init__(self) -> None:
        self.images = {name: slices(name, range(1))[0] for name in NAMES}
        super().__init__(list(self.images.values()))
        self.storage = [*self.storage, *KINDS.values()]
        self.taken: list[str] = []
        self.asked: list[list[str]] = []
        self.fails: dict[str, int] = {}
        self.storing, self.acting = self.take, self.commit  # which a test may replace while it runs
        self.on_store = lambda event: self.storing(event)  # noqa: PLW0108 - whichever it is by then
        self.on_action = lambda event: self.acting(event)  # noqa: PLW0108
        self.before_action: Callable[[object], bool] = lambda event: False

    def take(self, event):
        self.taken.append(str(event.request.AffectedSOPInstanceUID))
        return 0x0000

    def commit(self, event):
        named = event.action_information.ReferencedSOPSequence
        self.asked.append([str(item.ReferencedSOPInstanceUID) for item in named])
        if self.before_action(event):
            return 0x0000, None
        same_association(self, [], **({"failed": self.fails} if self.fails else {}))
        return self.on_action(event)


@pytest.fixture
def peer():
    with Peer().running() as running:
        yield running


@pytest.fixture
def site(tmp_path, peer):
    """Four cases with two objects each, reported."""
    made = small_site_at(tmp_path, peer.port, {"commitment_timeout_s": 20})
    for ds in peer.images.values():
        uids = str(ds.StudyInstanceUID), str(ds.SeriesInstanceUID)
        made.cases.record([Case(case_id(*uids), NIGHT, *uids, str(ds.PatientID))])

    def meet(case, record):
        if record.step is Step.STAGE:
            record.stages(CaseStaging(TStage.T3, P, (), KeySliceSource.EHR, MODEL, ()))
        if record.step is Step.REPORT:
            folder = made.files.folder(case.night, case.case_id, Step.REPORT)
            record.writes([write_object(folder, document(peer, case, kind), kind)[0] for kind in KINDS])

    for step, state in (
        (Step.RETRIEVE, CaseState.RETRIEVED),
        (Step.VALIDATE, CaseState.VALIDATED),
        (Step.PREPROCESS, CaseState.PREPROCESSED),
        (Step.STAGE, CaseState.STAGED),
        (Step.NOMOGRAM, CaseState.SCORED),
        (Step.REPORT, CaseState.REPORTED),
    ):
        Shard(made, step, shard(made)).each(state, meet)
    return made


def document(peer, case, kind):
    """As little of an object as delivery looks at: whose it is."""
    image = next(ds for ds in peer.images.values() if ds.StudyInstanceUID == case.study_uid)
    ds = Dataset()
    ds.file_meta = FileMetaDataset()
    ds.file_meta.TransferSyntaxUID = image.file_meta.TransferSyntaxUID
    ds.file_meta.MediaStorageSOPClassUID = ds.SOPClassUID = KINDS[kind]
    ds.file_meta.MediaStorageSOPInstanceUID = ds.SOPInstanceUID = NO_UID
    ds.PatientID, ds.StudyInstanceUID = image.PatientID, image.StudyInstanceUID
    ds.SeriesInstanceUID = f"{image.SeriesInstanceUID}.{len(kind)}"
    return ds


def shard(site):
    return [case.case_id for case in site.cases.of_night(NIGHT)]


def states(site):
    return [str(case.state) for case in site.cases.of_night(NIGHT)]


def objects(site, number):
    """UIDs of a case's objects, in the order in which they are sent."""
    [case] = site.cases.select([shard(site)[number]])
    written = site.cases.objects(case.case_id)
    return [one.sop_instance_uid for kind in KINDS for one in written if one.kind is kind]


def everything(site):
    return [uid for number in range(len(NAMES)) for uid in objects(site, number)]


def test_a_shard_takes_one_association_to_store_and_one_request_to_commit(site, peer):
    steps.deliver(site, NIGHT, shard(site))

    assert states(site) == ["committed"] * 4
    assert (peer.taken, peer.asked) == (everything(site), [everything(site)])
    assert len(peer.opened) == 2
    for number, one in enumerate(shard(site)):
        [(noted, _)] = site.deliveries.commitments(one)
        assert (noted.committed, noted.failed) == (frozenset(objects(site, number)), ())


def test_what_was_stored_and_not_committed_is_asked_for_together_too(site, peer, monkeypatch):
    """The process ends between the stores and the request."""
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(Pacs, "commit", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        steps.deliver(site, NIGHT, shard(site))
    assert states(site) == ["stored"] * 4

    done = ask_again(site, shard(site))

    assert (done, peer.taken, peer.asked) == ({"committed": shard(site)}, everything(site), [everything(site)])


def test_an_object_that_is_not_committed_costs_its_own_case_alone(site, peer):
    lost = objects(site, 1)[0]
    peer.fails = {lost: 0x0110}

    with pytest.raises(CasesToRetry, match="1 of 4 cases may work later"):
        steps.deliver(site, NIGHT, shard(site))

    assert states(site) == ["committed", "failed", "committed", "committed"]
    assert peer.asked == [everything(site), objects(site, 1)]
    assert sorted(peer.taken) == sorted([*everything(site), lost])  # sent once more, once
    peer.fails = {}
    steps.deliver(site, NIGHT, shard(site))
    assert (states(site), peer.asked[2:]) == (["committed"] * 4, [objects(site, 1)])


def test_an_association_cut_in_the_middle_of_a_shard_costs_the_case_that_was_being_sent(site, peer):
    def cut(event):
        peer.take(event)
        if len(peer.taken) == 4:
            event.assoc.abort()
        return 0x0000

    peer.storing = cut
    with pytest.raises(CasesToRetry, match="1 of 4 cases may work later"):
        steps.deliver(site, NIGHT, shard(site))

    assert states(site) == ["committed", "failed", "committed", "committed"]
    assert peer.asked == [[*objects(site, 0), *objects(site, 2), *objects(site, 3)]]
    assert len(peer.opened) == 3
    steps.deliver(site, NIGHT, shard(site))
    assert states(site) == ["committed"] * 4
    assert sorted(set(peer.taken)) == sorted(everything(site))
    assert len(peer.taken) == len(everything(site)) + 1  # the one whose answer was lost: the same object again


def test_where_the_association_of_the_common_request_is_cut_each_case_asks_alone(site, peer):
    def cut(event):
        if len(peer.asked) == 1:
            event.assoc.abort()
        return len(peer.asked) == 1

    peer.before_action = cut
    steps.deliver(site, NIGHT, shard(site))

    assert states(site) == ["committed"] * 4
    assert peer.asked == [everything(site), *(objects(site, number) for number in range(4))]
    assert peer.taken == everything(site)


def test_a_report_that_does_not_come_leaves_all_stored_and_asks_no_second_time(site, peer):
    pacs = attrs.evolve(site.config.pacs, commitment_timeout_s=1)
    quick = attrs.evolve(site, config=attrs.evolve(site.config, pacs=pacs), archive=Pacs(pacs))
    asked = []
    peer.acting = lambda event: (asked.append(1), (0x0000, None))[1]

    with pytest.raises(CasesToRetry, match="4 of 4 cases may work later"):
        steps.deliver(quick, NIGHT, shard(site))

    assert (states(site), len(asked)) == (["failed"] * 4, 1)
    assert {case.reached for case in site.cases.of_night(NIGHT)} == {CaseState.STORED}


def test_a_common_request_that_the_pacs_cannot_do_is_made_case_by_case(site, peer):
    """It does not know one of the objects, and refuses the whole request for it."""
    lost = objects(site, 2)[1]

    def refuse(event):
        named = [str(item.ReferencedSOPInstanceUID) for item in event.action_information.ReferencedSOPSequence]
        if lost not in named:
            return peer.commit(event)
        peer.asked.append(named)
        return 0x0110, None

    peer.acting = refuse
    peer.instances += [written(site, one) for one in everything(site)]
    steps.deliver(site, NIGHT, shard(site))

    assert peer.asked == [everything(site), *(objects(site, number) for number in range(4))]
    assert states(site) == ["committed"] * 4
    offered = [site.deliveries.commitments(one)[-1][0].offered for one in shard(site)]
    assert offered == [True, True, False, True]


@pytest.mark.parametrize("at", [1, 2, 8])
def test_what_a_dead_workers_task_has_sent_meanwhile_is_committed_by_the_try_that_came_after_it(site, peer, at):
    """Its process outlives the worker, sends what this try is sending too, and dies before it asks for a commitment."""
    other = attrs.evolve(site, archive=Pacs(site.config.pacs))

    def meanwhile(event):
        peer.take(event)
        if len(peer.taken) == at:
            peer.storing = peer.take
            with pytest.MonkeyPatch.context() as patch, pytest.raises(KeyboardInterrupt):
                patch.setattr("gtr_batch.deliver.commit_together", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
                steps.deliver(other, NIGHT, shard(site))
        return 0x0000

    peer.storing = meanwhile
    steps.deliver(site, NIGHT, shard(site))

    assert states(site) == ["committed"] * 4
    assert peer.asked == [everything(site)]


def written(site, uid):
    """An object as the PACS lists it."""
    [path] = site.files.root.rglob(f"*{uid}.dcm")
    return dcmread(path)
