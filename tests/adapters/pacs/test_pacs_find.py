"""C-FIND: nothing lost, nothing twice, nothing from outside the window."""

from __future__ import annotations

import io
from datetime import datetime

import pytest
import structlog
from pydicom import Dataset
from pynetdicom import evt

from gtr_batch.domain.identifiers import derived_uid
from gtr_batch.errors import AssociationLost, CaseRejected, InputRefused, PacsBusy, PermanentError
from tests.adapters.pacs.peers import HostilePacs, a_free_port, orthanc, qrscp
from tests.phantoms import abdomen_hu, write_series


def study(number: int, day: str = "20260301", clock: str | None = "120000", modality: str = "CT") -> Dataset:
    ds = Dataset()
    ds.StudyInstanceUID = derived_uid("study", str(number), day)
    ds.SeriesInstanceUID = derived_uid("series", str(number), day)
    ds.SOPInstanceUID = derived_uid("instance", str(number), day)
    ds.PatientID, ds.AccessionNumber, ds.Modality, ds.StudyDate = f"P{number}", f"A{number}", modality, day
    if clock is not None:
        ds.StudyTime = clock
    return ds


def capping(peer: HostilePacs, limit: int, status: int | None) -> None:
    """Let a peer stop after `limit` answers, with `status`, or with Success where it is None."""

    def find(event: evt.Event):
        answers = list(peer.find(event))
        yield from answers[:limit]
        if len(answers) > limit and status is not None:
            yield status, None

    peer.on_find = find


DAY = datetime(2026, 3, 1), datetime(2026, 3, 2)


@pytest.mark.parametrize("status", [0xA700, 0xB001, 0xFE00, 0xC001])
def test_finds_every_study_once_where_the_pacs_caps_its_answers(pacs_at, status):
    studies = [study(i, day, f"{2 * i:02}{i:02}00") for i in range(12) for day in ("20260301", "20260302")]
    peer = HostilePacs(studies)
    capping(peer, 5, status)

    with peer.running():
        found = pacs_at(peer).find_studies(datetime(2026, 3, 1), datetime(2026, 3, 3))

    assert sorted(r.study_uid for r in found) == sorted(ds.StudyInstanceUID for ds in studies)


def test_a_silent_cap_is_known_from_the_settings(pacs_at):
    studies = [study(i, clock=f"{i % 24:02}3000") for i in range(30)]
    peer = HostilePacs(studies)
    capping(peer, 7, None)

    with peer.running():
        found = pacs_at(peer, answer_cap=7).find_studies(*DAY)

    assert len(found) == 30


def test_never_asks_for_times_over_two_dates(pacs_at):
    peer = HostilePacs([study(i, day, f"{2 * i:02}0000") for i in range(12) for day in ("20260301", "20260302")])
    capping(peer, 5, 0xA700)

    with peer.running():
        pacs_at(peer).find_studies(datetime(2026, 3, 1, 18), datetime(2026, 3, 2, 18))

    with_times = [q for q in peer.requests if q.StudyTime]
    assert with_times
    assert all("-" not in q.StudyDate for q in with_times)


def test_a_cap_within_one_minute_is_an_error_and_never_a_shorter_list(pacs_at):
    peer = HostilePacs([study(i, clock=f"1200{i:02}") for i in range(30)])
    capping(peer, 5, 0xA700)

    with peer.running(), pytest.raises(PermanentError, match="within one minute"):
        pacs_at(peer).find_studies(*DAY)


def test_leaves_out_studies_outside_the_window_and_of_another_modality(pacs_at):
    inside = [study(1, clock="180000"), study(2, clock="235959.999"), study(3, "20260302", "175959")]
    outside = [study(4, clock="175959.5"), study(5, "20260302", "180000"), study(6, clock="200000", modality="MR")]
    peer = HostilePacs(inside + outside)

    with peer.running():
        found = pacs_at(peer).find_studies(datetime(2026, 3, 1, 18), datetime(2026, 3, 2, 18))

    assert [r.study_uid for r in found] == [ds.StudyInstanceUID for ds in inside]


def test_leaves_out_what_a_pacs_that_ignores_the_range_of_dates_sends(pacs_at):
    peer = HostilePacs([study(1), study(2, "20200101")])

    def find(event: evt.Event):
        event.identifier.StudyDate = ""
        for ds in peer.instances:
            yield 0xFF00, ds

    peer.on_find = find
    with peer.running():
        found = pacs_at(peer).find_studies(*DAY)

    assert [r.patient_id for r in found] == ["P1"]


@pytest.mark.parametrize(
    ("stored", "expected"),
    [
        ("07", datetime(2026, 3, 1, 7)),
        ("0715", datetime(2026, 3, 1, 7, 15)),
        ("071530.25", datetime(2026, 3, 1, 7, 15, 30, 250000)),
        ("07:15:30", datetime(2026, 3, 1, 7, 15, 30)),
        (None, datetime(2026, 3, 1)),
        ("nonsense", datetime(2026, 3, 1)),
    ],
)
def test_reads_study_times_as_they_are_stored_in_the_world(pacs_at, stored, expected):
    peer = HostilePacs([study(1, clock=stored)])

    with peer.running():
        found = pacs_at(peer).find_studies(*DAY)

    assert [r.study_at for r in found] == [expected]


def test_an_invalid_study_uid_is_handed_on_without_a_warning(pacs_at, recwarn):
    """It is refused, with its reason, where the study becomes a case; pydicom's warnings quote values."""
    peer = HostilePacs([study(1)])
    peer.instances[0].add_new("StudyInstanceUID", "LO", "1.2.03")
    peer.on_find = lambda event: ((0xFF00, ds) for ds in peer.instances)

    with peer.running():
        found = pacs_at(peer).find_studies(*DAY)

    assert [r.study_uid for r in found] == ["1.2.03"]
    assert not [w for w in recwarn if "1.2.03" in str(w.message)]


def test_a_study_without_time_is_found_in_every_window_of_its_date(pacs_at):
    peer = HostilePacs([study(1, clock=None)])

    with peer.running():
        pacs = pacs_at(peer)
        evening = pacs.find_studies(datetime(2026, 2, 28, 18), datetime(2026, 3, 1, 18))
        next_evening = pacs.find_studies(datetime(2026, 3, 1, 18), datetime(2026, 3, 2, 18))
        elsewhere = pacs.find_studies(datetime(2026, 3, 2, 18), datetime(2026, 3, 3, 18))

    assert (len(evening), len(next_evening), len(elsewhere)) == (1, 1, 0)


def test_looks_at_the_series_where_modalities_in_study_is_not_supported(pacs_at):
    peer = HostilePacs([study(1), study(2, modality="MR")])

    def find(event: evt.Event):
        for status, ds in peer.find(event):
            if "ModalitiesInStudy" in ds:
                del ds.ModalitiesInStudy
            yield status, ds

    peer.on_find = find
    with peer.running():
        found = pacs_at(peer).find_studies(*DAY)

    assert [(r.patient_id, r.modalities) for r in found] == [("P1", ("CT",))]


def test_two_patients_under_one_study_uid_stay_two_records(pacs_at):
    first, second = study(1), study(2)
    second.StudyInstanceUID = first.StudyInstanceUID
    peer = HostilePacs([first, second])
    peer.on_find = lambda event: ((0xFF00, ds) for ds in peer.instances)

    with peer.running():
        found = pacs_at(peer).find_studies(*DAY)

    assert {r.patient_id for r in found} == {"P1", "P2"}
    assert len({r.study_uid for r in found}) == 1


@pytest.mark.parametrize("uid", ["", "*", "1.2.*", "1..2", "1.02.3", "../../etc/passwd", "1.2\\1.3"])
def test_never_sends_an_invalid_uid(pacs_at, uid):
    peer = HostilePacs([study(1)])

    with peer.running():
        pacs = pacs_at(peer)
        with pytest.raises(CaseRejected) as series:
            pacs.find_series(uid)
        with pytest.raises(CaseRejected) as instances:
            pacs.find_instances("1.2.3", uid)

    assert {series.value.code, instances.value.code} == {"invalid_uid"}
    assert peer.requests == []


def test_a_capped_list_of_instances_is_an_error(pacs_at, series):
    peer = HostilePacs(series)
    capping(peer, 5, 0xA700)

    with peer.running(), pytest.raises(PermanentError, match="after 5 answers"):
        pacs_at(peer).find_instances(series[0].StudyInstanceUID, series[0].SeriesInstanceUID)


@pytest.mark.parametrize(
    ("status", "error"), [(0xA900, PermanentError), (0x0122, PermanentError), (0xC000, PacsBusy), (0xA700, PacsBusy)]
)
def test_a_refused_question_is_an_error_and_not_an_empty_night(pacs_at, status, error):
    peer = HostilePacs([study(1)])
    peer.on_find = lambda event: iter([(status, None)])

    with peer.running(), pytest.raises(error, match=f"0x{status:04X}"):
        pacs_at(peer).find_studies(*DAY)


def test_a_pacs_that_is_busy_for_one_question_is_asked_that_question_again_later(pacs_at, series):
    """0xA700 without an answer says that it has no resources now, not that its list is too long."""
    peer = HostilePacs(series)
    peer.on_find = lambda event: iter([(0xA700, None)])

    with peer.running():
        pacs = pacs_at(peer)
        with pytest.raises(PacsBusy, match="0xA700"):
            pacs.find_series(series[0].StudyInstanceUID)
        with pytest.raises(PacsBusy, match="0xA700"):
            pacs.find_instances(series[0].StudyInstanceUID, series[0].SeriesInstanceUID)

    assert len(peer.requests) == 2


def test_an_abort_among_the_answers_is_a_lost_association(pacs_at):
    peer = HostilePacs([study(1), study(2)])

    def find(event: evt.Event):
        yield 0xFF00, peer.instances[0]
        event.assoc.abort()
        yield 0xFF00, peer.instances[1]

    peer.on_find = find
    with peer.running(), pytest.raises(AssociationLost):
        pacs_at(peer).find_studies(*DAY)


def test_messages_and_records_show_no_patient(pacs_at):
    peer = HostilePacs([study(7)])

    with peer.running():
        found = pacs_at(peer).find_studies(*DAY)

    assert found[0].patient_id == "P7"
    assert "P7" not in repr(found) and "A7" not in repr(found)


@pytest.fixture
def night(tmp_path):
    """Six studies of one instance on two days, in Orthanc's and qrscp's hands the same."""

    def at(day: str, clock: str):
        def change(index: int, ds: Dataset) -> None:
            ds.StudyDate, ds.StudyTime = day, clock

        return change

    files = []
    for number, (day, clock) in enumerate(
        [
            ("20260301", "170000"),
            ("20260301", "190000"),
            ("20260301", "233000"),
            ("20260302", "003000"),
            ("20260302", "170000"),
            ("20260302", "190000"),
        ]
    ):
        files += write_series(
            tmp_path / "files" / str(number), abdomen_hu(1, 64), name=f"night{number}", change=at(day, clock)
        )
    return files


def test_finds_a_night_in_qrscp(pacs_at, night, tmp_path, free_port):
    with qrscp(tmp_path / "qrscp", free_port):
        pacs = pacs_at(free_port)
        pacs.store(night)
        found = pacs.find_studies(datetime(2026, 3, 1, 18), datetime(2026, 3, 2, 18))
        series = pacs.find_series(found[0].study_uid)
        instances = pacs.find_instances(found[0].study_uid, series[0].series_uid)

    assert [r.study_at.strftime("%d %H%M") for r in found] == ["01 1900", "01 2330", "02 0030", "02 1700"]
    assert [(s.modality, s.series_number) for s in series] == [("CT", 4)]
    assert len(instances) == 1


@pytest.mark.parametrize("limit", [0, 2])
def test_finds_a_night_in_orthanc_capped_or_not(pacs_at, need_program, night, tmp_path, free_port, limit):
    program = need_program("Orthanc", "orthanc")
    with orthanc(program, tmp_path / "orthanc", free_port, LimitFindResults=limit):
        pacs = pacs_at(free_port, called_ae_title="ORTHANC")
        pacs.store(night)
        found = pacs.find_studies(datetime(2026, 3, 1, 18), datetime(2026, 3, 2, 18))
        series = pacs.find_series(found[0].study_uid)

    assert [r.study_at.strftime("%d %H%M") for r in found] == ["01 1900", "01 2330", "02 0030", "02 1700"]
    assert found[0].modalities == ("CT",)
    assert [(s.description, s.instances) for s in series] == [("Abdomen portal venous 3.0", 1)]


@pytest.fixture
def crowded(tmp_path):
    """A study of nine series whose numbers lie apart, the largest of 45 instances that are numbered from 101."""
    one = derived_uid("study", "crowded")

    def as_series(number: int, modality: str):
        def change(index: int, ds: Dataset) -> None:
            ds.SeriesNumber, ds.Modality, ds.InstanceNumber = str(number), modality, str(101 + index)
            ds.PatientID = "P1"

        return change

    kinds = [(1, "CT", 2), (2, "CT", 45), (3, "CT", 4), (4, "CT", 1), (61, "CT", 1), (62, "CT", 1), (7, "PT", 2),
             (8, "PT", 1), (90, "SR", 1)]  # fmt: skip
    for number, modality, count in kinds:
        write_series(
            tmp_path / "crowd" / str(number), abdomen_hu(count, 64), name=f"crowd{number}", study=one,
            change=as_series(number, modality),
        )  # fmt: skip
    return one, {number: count for number, _, count in kinds}, sorted((tmp_path / "crowd").rglob("*.dcm"))


@pytest.mark.parametrize("limit", [3, 40])
def test_finds_every_series_and_instance_in_orthanc_capped_below_the_study(
    pacs_at, need_program, crowded, tmp_path, free_port, limit
):
    program = need_program("Orthanc", "orthanc")
    study_uid, counts, files = crowded
    with orthanc(program, tmp_path / "orthanc", free_port, LimitFindResults=limit, LimitFindInstances=limit):
        pacs = pacs_at(free_port, called_ae_title="ORTHANC")
        pacs.store(files)
        with pacs.connected():
            series = pacs.find_series(study_uid)
            listed = {one.series_number: pacs.find_instances(study_uid, one.series_uid) for one in series}
            largest = next(one for one in series if one.series_number == 2)
            wanted = [one.sop_instance_uid for one in listed[2]]
            paths = pacs.retrieve(study_uid, largest.series_uid, wanted, tmp_path / "fetched")

    assert {number: len(found) for number, found in listed.items()} == counts
    assert [one.instance_number for one in listed[2]] == list(range(101, 146))
    assert len(paths) == 45


@pytest.mark.parametrize(("level", "told"), [("SERIES", True), ("SERIES", False), ("IMAGE", True), ("IMAGE", False)])
def test_a_list_that_cannot_be_shown_to_be_complete_is_an_error_whatever_the_pacs_tells(pacs_at, level, told):
    """Five of one number where the PACS stops after three: no question is small enough."""
    instances = []
    for number in range(5):
        ds = study(1)
        ds.SOPInstanceUID = derived_uid("many", str(number))
        if level == "SERIES":
            ds.SeriesInstanceUID = derived_uid("many series", str(number))
        ds.SeriesNumber = ds.InstanceNumber = "1"
        if told:
            ds.NumberOfStudyRelatedSeries = ds.NumberOfSeriesRelatedInstances = "5"
        instances.append(ds)
    peer = HostilePacs(instances)
    capping(peer, 3, 0xA700)

    with peer.running(), pytest.raises(PermanentError, match="stopped after 3 answers of"):
        pacs = pacs_at(peer)
        if level == "SERIES":
            pacs.find_series(instances[0].StudyInstanceUID)
        pacs.find_instances(instances[0].StudyInstanceUID, instances[0].SeriesInstanceUID)


@pytest.fixture
def numbered():
    """Three studies with accession numbers."""
    studies = [study(number, "20260301", "120000") for number in range(3)]
    for number, ds in enumerate(studies):
        ds.AccessionNumber = f"ACC-{number}"
    return studies


def test_a_study_is_found_by_its_accession_number(pacs_at, numbered):
    peer = HostilePacs(numbered)
    peer.matching = lambda query: [ds for ds in numbered if ds.AccessionNumber == query.AccessionNumber]

    with peer.running():
        found = pacs_at(peer).find_accession("ACC-1")
        nobody = pacs_at(peer).find_accession("ACC-9")

    assert [record.study_uid for record in found] == [numbered[1].StudyInstanceUID]
    assert found[0].modalities == ("CT",)
    assert nobody == []


def test_of_a_pacs_that_does_not_look_at_the_number_no_other_study_is_taken_and_the_number_stands_nowhere(
    pacs_at, numbered
):
    log = io.StringIO()
    structlog.configure(logger_factory=structlog.PrintLoggerFactory(log))
    peer = HostilePacs(numbered)  # answers with everything

    with peer.running():
        found = pacs_at(peer).find_accession("ACC-1")
        with pytest.raises(PermanentError, match="does not look at it") as refused:
            pacs_at(peer).find_accession("ACC-9")

    assert [record.study_uid for record in found] == [numbered[1].StudyInstanceUID]
    assert log.getvalue().count("pacs.find.answers_of_others") == 2
    assert "ACC-" not in log.getvalue() + str(refused.value)


@pytest.mark.parametrize("value", ["", " ", "ACC-*", "ACC-?", "ACC-1\\ACC-2", "ACC\n1", "9" * 65])
def test_what_means_other_accession_numbers_too_is_not_asked_for(pacs_at, value):
    with pytest.raises(InputRefused, match="no single accession number") as refused:
        pacs_at(a_free_port()).find_accession(value)

    assert value.strip() == "" or value not in str(refused.value)
