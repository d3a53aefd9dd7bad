"""The heat map as a Parametric Map on the source geometry (PS3.3, A.75)."""

from __future__ import annotations

import highdicom as hd
import numpy as np
from highdicom.pm import ParametricMap, RealWorldValueMapping
from pydicom import Dataset

from gtr_batch.domain.delivery import ObjectKind
from gtr_batch.domain.identifiers import derived_uid
from gtr_batch.report import codes
from gtr_batch.report.codes import BODY_PART, concept
from gtr_batch.report.context import Context


def build_map(context: Context, heat: np.ndarray) -> Dataset:
    """Grad-CAM of the class with the most votes (the stage, where one is given), one frame a slice.

    Parameters
    ----------
    heat : numpy.ndarray
        Shape ``(slices, rows, columns)``, float32 from 0 to 1, in the pixels of `context.sources`, in their order.
    """
    first = {ds.SOPInstanceUID: i for i, ds in reversed(list(enumerate(context.sources)))}
    frames = [first[ds.SOPInstanceUID] for ds in context.evidence]
    ds = ParametricMap(
        source_images=context.evidence,
        pixel_array=np.ascontiguousarray(heat[frames], dtype=np.float32),
        contains_recognizable_visual_features=False,
        real_world_value_mappings=[
            RealWorldValueMapping(
                lut_label="GRADCAM",
                lut_explanation="Gradient-weighted class activation of the voted stage",
                unit=concept(codes.NO_UNITS),
                value_range=(0.0, 1.0),
                slope=1.0,
                intercept=0.0,
                quantity_definition=concept(codes.GRADIENT_WEIGHTED_CLASS_ACTIVATION),
            )
        ],
        voi_lut_transformations=[hd.VOILUTTransformation(window_center=0.5, window_width=1.0)],
        content_label="GRADCAM",
        content_description=f"{codes.NOT_VERIFIED}: heat map",
        content_qualification="RESEARCH",
        **context.attributes(ObjectKind.PARAMETRIC_MAP),
    )
    organisation = derived_uid("dimensions", ds.SeriesInstanceUID)  # highdicom draws one at random
    for item in (*ds.DimensionOrganizationSequence, *ds.DimensionIndexSequence):
        item.DimensionOrganizationUID = organisation
    ds.BodyPartExamined = BODY_PART
    return context.settle(ds)
