"""The checks of validation, and the Great Expectations run that decides them.

A `Check` is one expectation on one column, the code of the refusal that its failure is, and the sentence that says so.
Each result names the failing rows by their labels, which are ours (case id and a number); nothing else is taken of it,
so that no value of a header gets into a page or a log. What GX calls unexpected *is* the verdict: nothing is compared a
second time.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from attrs import frozen

from gtr_batch.config import ValidateConfig
from gtr_batch.domain.reconstruction import KernelKind
from gtr_batch.domain.refusal import RefusalCode
from gtr_batch.errors import PermanentError

if TYPE_CHECKING:
    import pandas as pd

LABEL = "label"  # of a row: case id and a number
# In memory only: a complete result holds values of headers, of which nothing but the labels is taken.
RESULT_FORMAT = {"result_format": "COMPLETE", "unexpected_index_column_names": [LABEL]}
SUITES = {"instances": "headers", "cases": "pixels"}  # a suite a frame; also the names of the pages


@frozen
class Check:
    """One expectation on one column and what its failure means.

    `sentence` is filled with the numbers of the failure: for a check on instances ``failing``, ``of`` and
    ``values``; for one on cases the columns named in `says` and the check's own column; always ``low`` and ``high``.
    """

    name: str
    frame: str  # "instances" | "cases"
    column: str
    code: RefusalCode
    sentence: str
    low: float | None = None
    high: float | None = None
    among: tuple[Any, ...] | None = None
    says: tuple[str, ...] = ()


def checks(limits: ValidateConfig) -> tuple[Check, ...]:
    """All checks, the most telling first: the first that fails names the refusal, the others stand in ``also``."""
    c = RefusalCode
    yes = (True,)
    return (
        Check("identity", "cases", "foreign", c.IDENTITY_MISMATCH,
             "{foreign} of {files} instances have another {differs} than the case: it is not clear whose images "
             "these are.", high=0, says=("files", "differs")),
        Check("uids", "instances", "uids_valid", c.INVALID_UID,
             "{failing} of {of} instances have an empty or invalid Study, Series or SOP Instance UID.", among=yes),
        Check("modality", "instances", "modality", c.WRONG_MODALITY,
             "{failing} of {of} instances are not CT (modality {values}).", among=("CT",)),
        Check("sop_class", "instances", "sop_class", c.NOT_PRIMARY_AXIAL,
             "{failing} of {of} instances are {values}, not CT images.", among=("CT Image Storage",)),
        Check("image_type", "instances", "image_type_problem", c.NOT_PRIMARY_AXIAL,
             "{failing} of {of} instances are not primary axial slices: Image Type says {values}.", among=("",)),
        Check("grey_single_frame", "instances", "grey_single_frame", c.NOT_PRIMARY_AXIAL,
             "{failing} of {of} instances are colour or multi-frame images, not CT slices.", among=yes),
        Check("placed", "instances", "placed", c.NOT_PRIMARY_AXIAL,
             "{failing} of {of} instances have no position or orientation in the patient.", among=yes),
        Check("readable", "instances", "readable", c.UNREADABLE_PIXELS,
             "{failing} of {of} files end before their pixels, or are no DICOM images.", among=yes),
        Check("files", "cases", "files", c.SERIES_INCOMPLETE, "The series has no files on disk.", low=1),
        Check("patients", "cases", "patients", c.INCONSISTENT_HEADERS,
             "The series holds instances of {patients} different patients.", high=1),
        Check("studies", "cases", "studies", c.INCONSISTENT_HEADERS,
             "The instances belong to {studies} different studies.", high=1),
        Check("series", "cases", "series", c.INCONSISTENT_HEADERS,
             "The instances belong to {series} different series.", high=1),
        Check("frames", "cases", "frames", c.INCONSISTENT_HEADERS,
             "The instances lie in {frames} different frames of reference.", high=1),
        Check("decodable", "instances", "decodable", c.UNREADABLE_PIXELS,
             "The pixels of {failing} of {of} instances are truncated or cannot be decoded.", among=yes),
        Check("missing", "cases", "missing", c.SERIES_INCOMPLETE,
             "{missing} of the {expected} instances that the PACS promised are not on disk.", high=0,
             says=("expected", "files")),
        Check("unexpected", "cases", "unexpected", c.INCONSISTENT_HEADERS,
             "{unexpected} instances on disk were not promised by the PACS.", high=0),
        Check("duplicate_uids", "cases", "duplicate_uids", c.DUPLICATE_SLICES,
             "{duplicate_uids} instances have the SOP Instance UID of another instance.", high=0, says=("slices",)),
        Check("duplicate_positions", "cases", "duplicate_positions", c.DUPLICATE_SLICES,
             "{duplicate_positions} slices lie at the position of another slice.", high=0, says=("slices",)),
        Check("tilt", "instances", "header_tilt_degrees", c.GANTRY_TILT,
             "The gantry was tilted by {values} degrees in {failing} of {of} slices (limit {high:g}).",
             low=0, high=limits.max_tilt_degrees),
        Check("off_axis", "instances", "off_axis_degrees", c.GANTRY_TILT,
             "{failing} of {of} slices lie {values} degrees off the axial plane (limit {high:g}).",
             low=0, high=limits.max_tilt_degrees),
        Check("shear", "cases", "shear_degrees", c.GANTRY_TILT,
             "The slices are stacked {shear_degrees:g} degrees off their axis: the gantry was tilted (limit {high:g}).",
             low=0, high=limits.max_tilt_degrees),
        Check("turned", "instances", "turned_degrees", c.NOT_PRIMARY_AXIAL,
             "{failing} of {of} slices are turned by {values} degrees against a patient lying on the back.",
             low=0, high=10),
        Check("sideways", "cases", "largest_shift_mm", c.INCONSISTENT_HEADERS,
             "Slices lie {largest_shift_mm:g} mm sideways of their neighbours (limit {high:g}): the stack is broken.",
             high=2.0, says=("slices",)),
        Check("order", "cases", "misplaced", c.INCONSISTENT_HEADERS,
             "{misplaced} of {slices} slices lie elsewhere in the stack than their instance numbers say.", high=0,
             says=("slices",)),
        Check("gap", "cases", "gap_share", c.SLICE_GAP,
             "Slices are {smallest_step_mm:g} to {largest_step_mm:g} mm apart where {spacing_mm:g} mm is usual: "
             "{missing_positions} missing or unevenly spaced.", low=0, high=limits.gap_tolerance,
             says=("spacing_mm", "smallest_step_mm", "largest_step_mm", "missing_positions")),
        Check("rows", "instances", "rows", c.MATRIX,
             "{failing} of {of} images have {values} rows, not {low:g}.", low=limits.matrix, high=limits.matrix),
        Check("columns", "instances", "columns", c.MATRIX,
             "{failing} of {of} images have {values} columns, not {low:g}.", low=limits.matrix, high=limits.matrix),
        Check("thickness", "instances", "thickness_mm", c.SLICE_THICKNESS,
             "{failing} of {of} slices are {values} mm thick (0: not given), outside {low:g} to {high:g} mm.",
             low=limits.min_thickness_mm, high=limits.max_thickness_mm),
        Check("kernel", "instances", "kernel_kind", c.WRONG_KERNEL,
             "{failing} of {of} slices were reconstructed with a lung or bone kernel ({kernel}).",
             among=(str(KernelKind.SOFT), str(KernelKind.UNKNOWN))),
        Check("slices", "cases", "slices", c.TOO_FEW_SLICES,
             "The series has {slices} slice(s) with a position; at least {low:g} are needed.",
             low=limits.min_slices, says=("coverage_mm",)),
        Check("coverage", "cases", "coverage_mm", c.TOO_FEW_SLICES,
             "The series covers {coverage_mm:g} mm, less than {low:g} mm.", low=limits.min_coverage_mm,
             says=("slices",)),
        Check("frame_uid", "instances", "frame_valid", c.INVALID_UID,
             "{failing} of {of} instances have an empty or invalid Frame of Reference UID.", among=yes),
        Check("thicknesses", "cases", "thicknesses", c.INCONSISTENT_HEADERS,
             "The slices have {thicknesses} different thicknesses.", high=1),
        Check("orientations", "cases", "orientations", c.INCONSISTENT_HEADERS,
             "The slices have {orientations} different orientations.", high=1),
        Check("pixel_spacings", "cases", "pixel_spacings", c.INCONSISTENT_HEADERS,
             "The slices have {pixel_spacings} different pixel spacings.", high=1),
        Check("pixel_spacing", "instances", "pixel_spacing_mm", c.INCONSISTENT_HEADERS,
             "{failing} of {of} slices have pixels of {values} mm (0: not given), outside {low:g} to {high:g} mm.",
             low=0.2, high=1.6),
        Check("pixel_aspect", "instances", "pixel_aspect", c.INCONSISTENT_HEADERS,
             "{failing} of {of} slices have pixels that are not square (ratio {values}).", low=0.99, high=1.01),
        Check("photometric", "instances", "photometric", c.NOT_HOUNSFIELD,
             "{failing} of {of} images are {values}, not MONOCHROME2.", among=("MONOCHROME2",)),
        Check("rescale", "instances", "rescale_known", c.NOT_HOUNSFIELD,
             "{failing} of {of} instances have no Rescale Slope or Intercept, so their Hounsfield units are not known.",
             among=yes),
        Check("rescale_type", "instances", "rescale_type", c.NOT_HOUNSFIELD,
             "{failing} of {of} instances are in {values}, not Hounsfield units.", among=("HU",)),
        Check("rescales", "cases", "other_rescales", c.NOT_HOUNSFIELD,
             "{other_rescales} of {slices} slices have another Rescale Slope or Intercept than the others: their "
             "Hounsfield units cannot be trusted.", high=0, says=("slices",)),
        Check("constant", "instances", "constant", c.SCRUBBED_PIXELS,
             "{failing} of {of} images have one single value throughout.", among=(False,)),
        Check("air_share", "cases", "air_share", c.NOT_HOUNSFIELD,
             "Only {air_share:.1%} of the pixels are as dark as air: these are not Hounsfield units.", low=0.0005),
        Check("air", "cases", "air_hu", c.NOT_HOUNSFIELD,
             "Air lies at {air_hu:g} HU, not near -1000: these are not Hounsfield units.", low=-1060, high=-930),
        Check("tissue", "cases", "tissue_share", c.NOT_HOUNSFIELD,
             "Only {tissue_share:.1%} of the pixels lie between -150 and 200 HU: no body, or not Hounsfield units.",
             low=0.05),
        Check("unlike", "cases", "unlike_slices", c.NOT_HOUNSFIELD,
             "{unlike_slices} of {slices} slices show air or tissue at other values than the rest: they are not in the "
             "same units.", high=0, says=("slices",)),
        Check("burned_in", "instances", "burned_in", c.SCRUBBED_PIXELS,
             "{failing} of {of} images say that annotation is burnt into their pixels.", among=("NO",)),
        Check("burned_pixels", "cases", "burned_pixels", c.SCRUBBED_PIXELS,
             "{burned_pixels} pixels outside the body have the largest value: text is burnt into the image.", high=200),
        Check("blanked", "cases", "blanked_cm2", c.SCRUBBED_PIXELS,
             "A rectangle of {blanked_cm2:g} cm2 in the body has one single value: pixels were blanked.", high=4.0),
        Check("phase", "cases", "phase_contradicts", c.WRONG_PHASE,
             "The pixels look {phase}, not {expected_phase} ({measured}).", among=(False,),
             says=("phase", "expected_phase", "measured", "aorta_hu", "liver_hu")),
    )  # fmt: skip


@frozen
class SuiteRun:
    """What one GX run decided: for each check's name the labels of the rows that failed; nothing of their values."""

    failing: Mapping[str, tuple[str, ...]]


def run_suites(frames: Mapping[str, pd.DataFrame], all_checks: Sequence[Check]) -> SuiteRun:
    """Validate the frames of a shard, one suite a frame.

    Parameters
    ----------
    frames : mapping of str to DataFrame
        ``instances`` and ``cases``, indexed by unique labels that hold nothing of a patient. Missing values are not
        judged (their absence has its own check).
    all_checks : sequence of Check

    Raises
    ------
    PermanentError
        An expectation could not be evaluated: a check names a column that is not there, or the like.
    """
    os.environ["GX_ANALYTICS_ENABLED"] = "False"  # before the import: no usage statistics leave the hospital
    import great_expectations as gx
    from great_expectations.data_context.types.base import (
        DataContextConfig,
        InMemoryStoreBackendDefaults,
        ProgressBarsConfig,
    )

    context = gx.get_context(
        mode="ephemeral",
        project_config=DataContextConfig(  # without the site that GX would make in a folder nobody deletes
            store_backend_defaults=InMemoryStoreBackendDefaults(init_temp_docs_sites=False),
            progress_bars=ProgressBarsConfig(globally=False),
        ),
    )
    source = context.data_sources.add_pandas("shard")
    failing: dict[str, tuple[str, ...]] = {}
    for frame_name, frame in frames.items():
        mine = [r for r in all_checks if r.frame == frame_name]
        if frame.empty or not mine:
            continue
        definition = source.add_dataframe_asset(frame_name).add_batch_definition_whole_dataframe(frame_name)
        batch = definition.get_batch({"dataframe": frame.assign(**{LABEL: frame.index})})
        suite = gx.ExpectationSuite(name=SUITES[frame_name], expectations=[_expectation(r) for r in mine])
        # Of the batch itself: a validation definition would serialise the result, values of headers and all, for a
        # store that ends with this process.
        result = batch.validate(suite, result_format=RESULT_FORMAT)
        for outcome in result.results:
            name = outcome.expectation_config.meta["rule"]
            if outcome.exception_info.get("raised_exception"):
                raise PermanentError(f"validation check {name!r} could not be evaluated by Great Expectations")
            failing[name] = () if outcome.success else _labels(outcome.result, name)
    return SuiteRun(failing)


def _labels(result: Mapping[str, Any], name: str) -> tuple[str, ...]:
    rows = result.get("unexpected_index_list")
    if not rows:
        raise PermanentError(f"validation check {name!r} failed and Great Expectations does not say for which rows")
    return tuple(str(row[LABEL]) for row in rows)


def _expectation(check: Check) -> Any:
    from great_expectations import expectations as gxe

    common = {"column": check.column, "meta": {"rule": check.name, "code": str(check.code), "sentence": check.sentence}}
    if check.among is not None:
        return gxe.ExpectColumnValuesToBeInSet(value_set=list(check.among), **common)
    return gxe.ExpectColumnValuesToBeBetween(min_value=check.low, max_value=check.high, **common)
