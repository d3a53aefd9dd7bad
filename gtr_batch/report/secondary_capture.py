"""The overlay as a Secondary Capture, for PACS that show no parametric maps (PS3.3, A.8)."""

from __future__ import annotations

import numpy as np
from highdicom.sc import SCImage
from pydicom import Dataset

from gtr_batch.domain.delivery import ObjectKind
from gtr_batch.report.codes import BODY_PART, NOT_VERIFIED
from gtr_batch.report.context import Context, reference_to
from gtr_batch.report.sources import patient_orientation


def build_capture(context: Context, overlay: np.ndarray, key: Dataset) -> Dataset:
    """The key slice with its heat map as a picture.

    Parameters
    ----------
    overlay : numpy.ndarray
        Shape ``(rows, columns, 3)``, uint8 RGB, with its label burned in.
    key : Dataset
        Header of the key slice.
    """
    study = context.sources[0]
    ds = SCImage(
        pixel_array=np.ascontiguousarray(overlay),
        photometric_interpretation="RGB",
        bits_allocated=8,
        coordinate_system="PATIENT",
        patient_orientation=patient_orientation(key),
        **context.attributes_of_study(),
        **context.attributes(ObjectKind.SECONDARY_CAPTURE),
    )
    ds.copy_patient_and_study_information(study)
    ds.BodyPartExamined = BODY_PART
    ds.BurnedInAnnotation = "YES"
    ds.RecognizableVisualFeatures = "NO"
    ds.ImageComments = NOT_VERIFIED
    ds.DerivationDescription = "Gradient-weighted class activation over the key slice"
    ds.SourceImageSequence = [reference_to(key)]
    return context.settle(ds)
