"""What arrives is compared with what was asked for: patient, study, series, SOP class and instance, by the header."""

from __future__ import annotations

import attrs
import pytest
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
