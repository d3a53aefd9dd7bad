"""The rules of validation, and the Great Expectations run that decides them.

A `Rule` is one expectation on one column, the code of the refusal that its failure is, and the sentence that says so.
The run's results are ``BOOLEAN_ONLY`` plus the labels of the failing rows, which are ours (case id and a number), so
that no value of a header gets into a result, a page or a log. What GX calls unexpected *is* the verdict: nothing is
compared a second time.
"""

from __future__ import annotations

import ast
import os
import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from attrs import frozen

from gtr_batch.config import ValidateConfig
from gtr_batch.domain.refusal import RefusalCode
from gtr_batch.errors import PermanentError

if TYPE_CHECKING:
    import pandas as pd

RESULT_FORMAT = {"result_format": "BOOLEAN_ONLY", "return_unexpected_index_query": True}
SUITES = {"instances": "headers", "cases": "pixels"}  # a suite a frame; also the names of the pages
_LABELS = re.compile(r"items=(\[.*\]), axis=0\)$", re.DOTALL)


@frozen
class Rule:
    """One expectation on one column and what its failure means.

    `sentence` is filled with the numbers of the failure: for a rule on instances ``failing``, ``of`` and
    ``values``; for one on cases the columns named in `says` and the rule's own column; always ``low`` and ``high``.
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


def rules(limits: ValidateConfig) -> tuple[Rule, ...]:
    """All rules, the most telling first: the first that fails names the refusal, the others stand in ``also``."""
    c = RefusalCode
    yes = (True,)
    return (
        Rule("uids", "instances", "uids_valid", c.INVALID_UID,
             "{failing} of {of} instances have an empty or invalid Study, Series or SOP Instance UID.", among=yes),
        Rule("modality", "instances", "modality", c.WRONG_MODALITY,
             "{failing} of {of} instances are not CT (modality {values}).", among=("CT",)),
        Rule("sop_class", "instances", "sop_class", c.NOT_PRIMARY_AXIAL,
             "{failing} of {of} instances are no CT images but {values}.", among=("CT Image Storage",)),
        Rule("image_type", "instances", "image_type_problem", c.NOT_PRIMARY_AXIAL,
             "{failing} of {of} instances are no primary axial slices: Image Type says {values}.", among=("",)),
        Rule("grey_single_frame", "instances", "grey_single_frame", c.NOT_PRIMARY_AXIAL,
             "{failing} of {of} instances are colour or multi-frame images, not CT slices.", among=yes),
        Rule("placed", "instances", "placed", c.NOT_PRIMARY_AXIAL,
             "{failing} of {of} instances do not say where in the patient they lie.", among=yes),
        Rule("readable", "instances", "readable", c.UNREADABLE_PIXELS,
             "{failing} of {of} files are cut off before their pixels or no DICOM images at all.", among=yes),
        Rule("files", "cases", "files", c.SERIES_INCOMPLETE, "The series has no files on disk.", low=1),
        Rule("patients", "cases", "patients", c.INCONSISTENT_HEADERS,
             "The series holds instances of {patients} different patients.", high=1),
        Rule("studies", "cases", "studies", c.INCONSISTENT_HEADERS,
             "The instances belong to {studies} different studies.", high=1),
        Rule("series", "cases", "series", c.INCONSISTENT_HEADERS,
             "The instances belong to {series} different series.", high=1),
        Rule("frames", "cases", "frames", c.INCONSISTENT_HEADERS,
             "The instances lie in {frames} different frames of reference.", high=1),
        Rule("decodable", "instances", "decodable", c.UNREADABLE_PIXELS,
             "The pixels of {failing} of {of} instances are truncated or cannot be decoded.", among=yes),
        Rule("missing", "cases", "missing", c.SERIES_INCOMPLETE,
             "{missing} of the {expected} instances that the PACS promised are not on disk.", high=0,
             says=("expected", "files")),
        Rule("unexpected", "cases", "unexpected", c.INCONSISTENT_HEADERS,
             "{unexpected} instances on disk were not promised by the PACS.", high=0),
        Rule("frame_uid", "instances", "frame_valid", c.INVALID_UID,
             "{failing} of {of} instances have an empty or invalid Frame of Reference UID.", among=yes),
        Rule("duplicate_uids", "cases", "duplicate_uids", c.DUPLICATE_SLICES,
             "{duplicate_uids} instances have the SOP Instance UID of another.", high=0, says=("slices",)),
        Rule("duplicate_positions", "cases", "duplicate_positions", c.DUPLICATE_SLICES,
             "{duplicate_positions} slices lie where another one lies.", high=0, says=("slices",)),
        Rule("tilt", "instances", "header_tilt_degrees", c.GANTRY_TILT,
             "The gantry was tilted by {values} degrees in {failing} of {of} slices (limit {high:g}).",
             low=0, high=limits.max_tilt_degrees),
        Rule("off_axis", "instances", "off_axis_degrees", c.GANTRY_TILT,
             "{failing} of {of} slices stand {values} degrees off the axial plane (limit {high:g}).",
             low=0, high=limits.max_tilt_degrees),
        Rule("shear", "cases", "shear_degrees", c.GANTRY_TILT,
             "The stack leans {shear_degrees:g} degrees off its slices' normal: a tilted gantry (limit {high:g}).",
             low=0, high=limits.max_tilt_degrees),
        Rule("turned", "instances", "turned_degrees", c.NOT_PRIMARY_AXIAL,
             "{failing} of {of} slices are turned by {values} degrees from a supine patient's axes.", low=0, high=10),
        Rule("gap", "cases", "gap_share", c.SLICE_GAP,
             "Slices are {smallest_step_mm:g} to {largest_step_mm:g} mm apart where {spacing_mm:g} mm is usual: "
             "{missing_positions} missing or unevenly spaced.", low=0, high=limits.gap_tolerance,
             says=("spacing_mm", "smallest_step_mm", "largest_step_mm", "missing_positions")),
        Rule("rows", "instances", "rows", c.MATRIX,
             "{failing} of {of} images have {values} rows, not {low:g}.", low=limits.matrix, high=limits.matrix),
        Rule("columns", "instances", "columns", c.MATRIX,
             "{failing} of {of} images have {values} columns, not {low:g}.", low=limits.matrix, high=limits.matrix),
        Rule("thickness", "instances", "thickness_mm", c.SLICE_THICKNESS,
             "{failing} of {of} slices are {values} mm thick (0: not said), outside {low:g} to {high:g} mm.",
             low=limits.min_thickness_mm, high=limits.max_thickness_mm),
        Rule("kernel", "instances", "kernel_kind", c.WRONG_KERNEL,
             "{failing} of {of} slices were reconstructed with a lung or bone kernel ({kernel}).",
             among=("soft", "unknown")),
        Rule("slices", "cases", "slices", c.TOO_FEW_SLICES,
             "The series has {slices} placed slice(s); at least {low:g} are needed.",
             low=limits.min_slices, says=("coverage_mm",)),
        Rule("coverage", "cases", "coverage_mm", c.TOO_FEW_SLICES,
             "The series covers {coverage_mm:g} mm, less than {low:g} mm.", low=limits.min_coverage_mm,
             says=("slices",)),
        Rule("thicknesses", "cases", "thicknesses", c.INCONSISTENT_HEADERS,
             "The slices have {thicknesses} different thicknesses.", high=1),
        Rule("orientations", "cases", "orientations", c.INCONSISTENT_HEADERS,
             "The slices have {orientations} different orientations.", high=1),
        Rule("pixel_spacings", "cases", "pixel_spacings", c.INCONSISTENT_HEADERS,
             "The slices have {pixel_spacings} different pixel spacings.", high=1),
        Rule("pixel_spacing", "instances", "pixel_spacing_mm", c.INCONSISTENT_HEADERS,
             "{failing} of {of} slices have pixels of {values} mm (0: not said), outside {low:g} to {high:g} mm.",
             low=0.2, high=1.6),
        Rule("pixel_aspect", "instances", "pixel_aspect", c.INCONSISTENT_HEADERS,
             "{failing} of {of} slices have pixels that are not square (ratio {values}).", low=0.99, high=1.01),
        Rule("photometric", "instances", "photometric", c.NOT_HOUNSFIELD,
             "{failing} of {of} images are {values}, not MONOCHROME2.", among=("MONOCHROME2",)),
        Rule("rescale", "instances", "rescale_known", c.NOT_HOUNSFIELD,
             "{failing} of {of} instances do not say how stored values become Hounsfield units.", among=yes),
        Rule("rescale_type", "instances", "rescale_type", c.NOT_HOUNSFIELD,
             "{failing} of {of} instances are in {values}, not Hounsfield units.", among=("HU",)),
        Rule("constant", "instances", "constant", c.SCRUBBED_PIXELS,
             "{failing} of {of} images have one single value throughout.", among=(False,)),
        Rule("air_share", "cases", "air_share", c.NOT_HOUNSFIELD,
             "Only {air_share:.1%} of the pixels are as dark as air: these are not Hounsfield units.", low=0.0005),
        Rule("air", "cases", "air_hu", c.NOT_HOUNSFIELD,
             "Air lies at {air_hu:g} HU, not near -1000: these are not Hounsfield units.", low=-1060, high=-930),
        Rule("tissue", "cases", "tissue_share", c.NOT_HOUNSFIELD,
             "Only {tissue_share:.1%} of the pixels lie between -150 and 200 HU: no body, or no Hounsfield units.",
             low=0.05),
        Rule("burned_in", "instances", "burned_in", c.SCRUBBED_PIXELS,
             "{failing} of {of} images say that annotation is burnt into their pixels.", among=("NO",)),
        Rule("burned_pixels", "cases", "burned_pixels", c.SCRUBBED_PIXELS,
             "{burned_pixels} pixels outside the body have the largest value: text is burnt into the image.", high=200),
        Rule("blanked", "cases", "blanked_cm2", c.SCRUBBED_PIXELS,
             "A rectangle of {blanked_cm2:g} cm2 in the body has one single value: pixels were blanked.", high=4.0),
        Rule("phase", "cases", "phase_contradicts", c.WRONG_PHASE,
             "The pixels look {phase}, not {expected_phase} ({measured}).", among=(False,),
             says=("phase", "expected_phase", "measured", "aorta_hu", "liver_hu")),
    )  # fmt: skip


@frozen
class SuiteRun:
    """What one GX run decided: for each rule's name the labels of the rows that failed; and GX's own results."""

    failing: Mapping[str, tuple[str, ...]]
    context: Any
    results: Mapping[str, Any]


def run_suites(frames: Mapping[str, pd.DataFrame], all_rules: Sequence[Rule], run_name: str) -> SuiteRun:
    """Validate the frames of a shard, one suite a frame.

    Parameters
    ----------
    frames : mapping of str to DataFrame
        ``instances`` and ``cases``, indexed by unique labels that hold nothing of a patient. Missing values are not
        judged (their absence has its own rule).
    all_rules : sequence of Rule
    run_name : str
        Names the run in Data Docs.

    Raises
    ------
    PermanentError
        An expectation could not be evaluated: a rule names a column that is not there, or the like.
    """
    os.environ["GX_ANALYTICS_ENABLED"] = "False"  # before the import: no usage statistics leave the hospital
    import great_expectations as gx
    from great_expectations.core.run_identifier import RunIdentifier
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
    results = {}
    for frame_name, frame in frames.items():
        mine = [r for r in all_rules if r.frame == frame_name]
        if frame.empty or not mine:
            continue
        batch = source.add_dataframe_asset(frame_name).add_batch_definition_whole_dataframe(frame_name)
        title = SUITES[frame_name]
        suite = context.suites.add(gx.ExpectationSuite(name=title, expectations=[_expectation(r) for r in mine]))
        definition = context.validation_definitions.add(gx.ValidationDefinition(name=title, data=batch, suite=suite))
        result = definition.run(
            batch_parameters={"dataframe": frame},
            result_format=RESULT_FORMAT,
            run_id=RunIdentifier(run_name=run_name),
        )
        results[title] = result
        for outcome in result.results:
            name = outcome.expectation_config.meta["rule"]
            if outcome.exception_info.get("raised_exception"):
                raise PermanentError(f"validation rule {name!r} could not be evaluated by Great Expectations")
            failing[name] = () if outcome.success else _labels(outcome.result, name)
    return SuiteRun(failing, context, results)


def _labels(result: Mapping[str, Any], name: str) -> tuple[str, ...]:
    match = _LABELS.search(str(result.get("unexpected_index_query", "")))
    if not match:
        raise PermanentError(f"validation rule {name!r} failed and Great Expectations does not say for which rows")
    return tuple(ast.literal_eval(match[1]))


def _expectation(rule: Rule) -> Any:
    from great_expectations import expectations as gxe

    common = {"column": rule.column, "meta": {"rule": rule.name, "code": str(rule.code), "sentence": rule.sentence}}
    if rule.among is not None:
        return gxe.ExpectColumnValuesToBeInSet(value_set=list(rule.among), **common)
    return gxe.ExpectColumnValuesToBeBetween(min_value=rule.low, max_value=rule.high, **common)
