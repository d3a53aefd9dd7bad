"""What arrives is compared with what was asked for: patient, study, series, SOP class and instance, by the header."""

from __future__ import annotations

import io
from copy import deepcopy

import attrs
import pytest
import structlog
from pydicom import dcmread
from pynetdicom.sop_class import EnhancedCTImageStorage

from gtr_batch.domain.identity import PatientIdentity, SeriesIdentity
from gtr_batch.errors import CaseRejected
from tests.adapters.pacs.peers import HostilePacs, a_free_port
from tests.adapters.pacs.test_pacs_retrieve import names, wanted

MODES = pytest.mark.parametrize("mode", ["get", "move"])


def identity_of(series, **changes) -> SeriesIdentity:
    """What C-FIND said of the series, before the PACS was bent."""
    first = series[0]
    patient = PatientIdentity(first.PatientID, first.get("IssuerOfPatientID"))
    known = SeriesIdentity(str(first.StudyInstanceUID), str(first.SeriesInstanceUID), patient)
    return attrs.evolve(known, **changes)


@pytest.fixture
def fetch(pacs_at, tmp_path):
    """A function that fetches a series from a peer into ``out``, by C-GET or C-MOVE."""

    def fetched(peer, mode, what, identity):
        our_port = a_free_port()
        peer.move_to = ("127.0.0.1", our_port)
        with peer.running():
            pacs = pacs_at(peer, retrieve_mode=mode, move_port=our_port)
            return pacs.retrieve(*what, tmp_path / "out", identity=identity)

    return fetched


@MODES
@pytest.mark.parametrize(
    ("keyword", "value"),
    [
        ("PatientID", "PHANTOM-2"),
        ("PatientID", "phantom-1"),
        ("PatientID", ""),
        ("PatientID", ["PHANTOM-1", "PHANTOM-2"]),
        ("IssuerOfPatientID", "another hospital"),
        ("StudyInstanceUID", "1.2.3"),
        ("SeriesInstanceUID", "1.2.3"),
    ],
)
def test_an_instance_of_another_patient_study_or_series_is_refused(fetch, series, tmp_path, mode, keyword, value):
    for ds in series:
        ds.IssuerOfPatientID = "this hospital"
    known, asked = identity_of(series), wanted(series)
    peer = HostilePacs(series)
    peer.matching = lambda identifier: list(series)  # it ignores what is asked for
    setattr(series[7], keyword, value)

    with pytest.raises(CaseRejected, match=keyword) as refused:
        fetch(peer, mode, asked, known)

    assert refused.value.code == "identity_mismatch"
    assert refused.value.numbers == {"differs": [keyword]}
    assert f"{series[7].SOPInstanceUID}.dcm" not in names(tmp_path / "out")
    assert not [name for name in names(tmp_path / "out") if name.endswith(".part")]
    assert "PHANTOM" not in str(refused.value) and "hospital" not in str(refused.value)


@MODES
@pytest.mark.parametrize(
    ("keyword", "value"),
    [("PatientID", " PHANTOM-1 "), ("IssuerOfPatientID", ""), ("IssuerOfPatientID", "this hospital ")],
)
def test_blanks_and_an_issuer_that_one_side_leaves_out_are_no_difference(fetch, series, tmp_path, mode, keyword, value):
    for ds in series:
        ds.IssuerOfPatientID = "this hospital"
    known, asked = identity_of(series), wanted(series)
    for ds in series:
        setattr(ds, keyword, value)

    paths = fetch(HostilePacs(series), mode, asked, known)

    assert len(paths) == len(names(tmp_path / "out")) == 12


@MODES
def test_an_instance_of_another_sop_class_than_c_find_listed_is_refused(fetch, series, tmp_path, mode):
    classes = {str(ds.SOPInstanceUID): str(ds.SOPClassUID) for ds in series}
    classes[str(series[3].SOPInstanceUID)] = str(EnhancedCTImageStorage)

    with pytest.raises(CaseRejected, match="SOPClassUID"):
        fetch(HostilePacs(series), mode, wanted(series), identity_of(series, sop_classes=classes))


@MODES
def test_study_and_series_are_compared_although_nobody_said_whose_they_are(fetch, series, tmp_path, mode):
    asked = wanted(series)
    peer = HostilePacs(series)
    peer.matching = lambda identifier: list(series)
    series[0].StudyInstanceUID = "1.2.3"

    with pytest.raises(CaseRejected, match="StudyInstanceUID"):
        fetch(peer, mode, asked, None)


def test_a_file_of_an_earlier_try_that_is_another_patients_is_fetched_anew(pacs_at, series, tmp_path):
    """As after a merge of patients: the pixels on disk still carry the number before."""
    known, asked = identity_of(series), wanted(series)
    peer = HostilePacs(series)
    with peer.running():
        paths = pacs_at(peer).retrieve(*asked, tmp_path, identity=known)
        old = dcmread(paths[2])
        old.PatientID = "PHANTOM-2"
        old.save_as(paths[2], enforce_file_format=True)
        kept = paths[0].stat().st_mtime_ns
        again = pacs_at(peer).retrieve(*asked, tmp_path, identity=known)

    assert again == paths
    assert {dcmread(path).PatientID for path in paths} == {"PHANTOM-1"}
    assert paths[0].stat().st_mtime_ns == kept


def strangers(series):
    """Another patient's series."""
    found = deepcopy(series[:3])
    for number, ds in enumerate(found):
        ds.PatientID, ds.StudyInstanceUID, ds.SeriesInstanceUID = "PHANTOM-2", "1.2.3", "1.2.3.4"
        ds.SOPInstanceUID = ds.file_meta.MediaStorageSOPInstanceUID = f"1.2.3.4.{number}"
    return found


def test_an_answer_that_names_another_study_is_dropped_and_noted(pacs_at, series):
    """A PACS that does not look at the UIDs below the study level, and says honestly what it found."""
    log = io.StringIO()
    structlog.configure(logger_factory=structlog.PrintLoggerFactory(log))
    study, number, uids = wanted(series)
    peer = HostilePacs([*strangers(series), *series])
    peer.matching = lambda identifier: peer.instances

    with peer.running():
        pacs = pacs_at(peer)
        found = pacs.find_series(study)
        instances = pacs.find_instances(study, number)
        listed = pacs.find_study(study)

    assert [record.series_uid for record in found] == [number]
    assert sorted(record.sop_instance_uid for record in instances) == sorted(uids)
    assert [record.patient_id for record in listed] == ["PHANTOM-1"]
    assert log.getvalue().count("pacs.find.answers_of_others") == 3
    assert "PHANTOM" not in log.getvalue()


def test_answers_of_other_studies_do_not_count_where_a_capped_list_is_asked_for_in_smaller_questions(pacs_at, series):
    """It caps after five answers and looks at no UID below the study level, but at Instance Number."""
    study, number, uids = wanted(series)
    others = strangers(series)
    for index, ds in enumerate([*others, *series]):
        ds.InstanceNumber, ds.NumberOfSeriesRelatedInstances = str(index), str(len(uids))
    peer = HostilePacs([*others, *series])
    peer.matching = lambda asked: [
        ds for ds in peer.instances if asked.get("InstanceNumber") in (None, "", str(ds.InstanceNumber))
    ]
    find = peer.find

    def capped(event):
        for count, answer in enumerate(find(event)):
            yield answer if count < 5 else (0xA700, None)
            if count == 5:
                return

    peer.on_find = capped
    with peer.running():
        instances = pacs_at(peer).find_instances(study, number)

    assert sorted(record.sop_instance_uid for record in instances) == sorted(uids)


@pytest.mark.parametrize("ask", ["find_study", "find_series", "find_instances"])
def test_a_pacs_that_answers_with_other_studies_alone_is_refused(pacs_at, series, ask):
    study, number, _ = wanted(series)
    peer = HostilePacs(strangers(series))
    peer.matching = lambda identifier: peer.instances

    with peer.running(), pytest.raises(CaseRejected, match="StudyInstanceUID") as refused:
        getattr(pacs_at(peer), ask)(*((study, number) if ask == "find_instances" else (study,)))

    assert refused.value.code == "identity_mismatch"


@MODES
def test_a_pacs_that_repeats_the_uid_it_was_asked_for_is_found_out_when_the_images_arrive(
    pacs_at, series, tmp_path, mode
):
    """It lists another patient's series under our study: nothing in its answers can show that."""
    study = str(series[0].StudyInstanceUID)
    others = strangers(series)
    peer, our_port = HostilePacs(others), a_free_port()
    peer.matching = lambda identifier: peer.instances
    peer.move_to = ("127.0.0.1", our_port)
    honest = peer.find

    def repeat(event):
        for status, found in honest(event):
            answer = deepcopy(found)  # it shares its elements with the instance
            answer.StudyInstanceUID = event.identifier.StudyInstanceUID
            yield status, answer

    peer.on_find = repeat
    with peer.running():
        pacs = pacs_at(peer, retrieve_mode=mode, move_port=our_port)
        [listed] = pacs.find_series(study)
        uids = [record.sop_instance_uid for record in pacs.find_instances(study, listed.series_uid)]
        with pytest.raises(CaseRejected, match="StudyInstanceUID") as refused:
            pacs.retrieve(study, listed.series_uid, uids, tmp_path)

    assert refused.value.code == "identity_mismatch"
    assert names(tmp_path) == []
