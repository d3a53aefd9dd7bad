"""The case's page as an Encapsulated PDF, for a PACS whose viewers show no structured reports (PS3.3, A.45.1)."""

from __future__ import annotations

from highdicom.base import SOPClass
from pydicom import Dataset
from pydicom.uid import EncapsulatedPDFStorage, ExplicitVRLittleEndian

from gtr_batch.domain.delivery import ObjectKind
from gtr_batch.report.case_page import PageContent, draw_page
from gtr_batch.report.codes import NOT_VERIFIED, REPORT_TITLE, concept
from gtr_batch.report.context import Context, reference_to

TITLE = f"{NOT_VERIFIED}: gastric T stage"


def build_pdf(context: Context, content: PageContent) -> Dataset:
    """The page of a staged case, encapsulated.

    The patient's name, PatientID and birth date are on the page as they are in the images (*Burned In Annotation*
    YES), and a head from the front is not (*Recognizable Visual Features* NO).

    References
    ----------
    DICOM PS3.3, C.24.1 and C.24.2 (series and document), C.8.6.1 (equipment)
    """
    study = context.sources[0]
    ds = SOPClass(
        sop_class_uid=EncapsulatedPDFStorage,
        transfer_syntax_uid=ExplicitVRLittleEndian,
        modality="DOC",
        **context.attributes_of_study(),
        **context.attributes(ObjectKind.ENCAPSULATED_PDF),
    )
    ds.copy_patient_and_study_information(study)
    ds.ConversionType = "WSD"  # made on a workstation, not scanned
    ds.AcquisitionDateTime = _acquired(study)
    ds.BurnedInAnnotation, ds.RecognizableVisualFeatures = "YES", "NO"
    ds.SourceInstanceSequence = [reference_to(one) for one in context.evidence]
    ds.DocumentTitle = TITLE
    ds.ConceptNameCodeSequence = [concept(REPORT_TITLE)]
    ds.VerificationFlag = "UNVERIFIED"
    page = draw_page(context, content)
    ds.MIMETypeOfEncapsulatedDocument = "application/pdf"
    ds.EncapsulatedDocumentLength = len(page)
    ds.EncapsulatedDocument = page + b"\0" * (len(page) % 2)
    return context.settle(ds)


def _acquired(source: Dataset) -> str:
    """*Acquisition DateTime* of the images; empty where they do not say."""
    day, clock = str(source.get("AcquisitionDate") or ""), str(source.get("AcquisitionTime") or "")
    return day + clock if day else ""
