"""Phantom patients as the network sees them: three slices prepared by the contract, without a detour over DICOM."""

from __future__ import annotations

import numpy as np
from attrs import frozen

from gtr_batch.domain.model import PreprocessingContract
from gtr_batch.domain.prepared import PreparedGeometry
from gtr_batch.domain.staging import STAGES, TStage
from gtr_batch.preprocess import Volume, prepare_volume
from gtr_batch.simulation.hospital.ehr import Clinical, draw_clinical
from gtr_batch.simulation.phantom.phantom import Phantom
from gtr_batch.simulation.phantom.ranges import USUAL, Ranges
from gtr_batch.simulation.phantom.scanner import SCANNERS, quantum_noise

SKETCH = 2  # how much coarser the slices are painted that only N4 sees
SKETCH_STEP_MM = 6.0  # and how far apart; the field's splines span 20 mm
BOX_MARGIN_MM = 30.0  # reaches past every strand and infiltration of a tumour


@frozen(eq=False)
class PreparedPatient:
    """One phantom patient, ready for the network.

    `slices` (3, size, size) in the order below, key, above; `box` the network's rows and columns (first row, last row,
    first column, last column) that hold the stomach with a margin; `site` the row and column where the tumour begins;
    `areas` its cross-section per slice, mm^2. `lesion` and `stomach` (3, size, size), bool, on the slices; `wall_mm`
    the wall's thickness at the site, without the tumour.
    """

    index: int
    stage: TStage
    scanner: str
    clinical: Clinical
    slices: np.ndarray
    box: tuple[int, int, int, int]
    site: tuple[float, float]
    areas: np.ndarray
    key_index: int
    lesion: np.ndarray
    stomach: np.ndarray
    wall_mm: float


def draw_phantom(seed: int, index: int, ranges: Ranges = USUAL) -> tuple[Phantom, Clinical, TStage]:
    """Patient `index` of a cohort with as many of each stage: stages take turns, all else is drawn."""
    stage = STAGES[index % len(STAGES)]
    rng = np.random.default_rng([seed, index, 4711])
    clinical = draw_clinical(rng, stage)
    scanner = SCANNERS[int(rng.integers(len(SCANNERS)))]
    phantom = Phantom(seed, index, stage, clinical.third, clinical.size_cm, scanner, ranges=ranges)
    return phantom, clinical, stage


def prepare_patient(
    seed: int, index: int, contract: PreprocessingContract, *, sketch: bool = True, ranges: Ranges = USUAL
) -> PreparedPatient:
    """A phantom patient through the contract.

    Parameters
    ----------
    seed, index : int
        Which patient.
    contract : PreprocessingContract
    sketch : bool
        Paint the slices that only N4 sees at half the resolution and fewer of them: N4 looks at every fourth
        millimetre. The answer differs from the full computation's by less than the noise does
        (`tests/unit/simulation/test_cohort.py`).
    ranges : Ranges
        What wall, distension, contrast and noise are drawn from.
    """
    phantom, clinical, stage = draw_phantom(seed, index, ranges)
    hu = sketched_volume(phantom) if sketch else phantom.volume()
    return _prepared(phantom, clinical, stage, hu, contract)


def prepare_family(
    seed: int, index: int, contract: PreprocessingContract, *, ranges: Ranges = USUAL
) -> list[PreparedPatient]:
    """Four patients for training, one a stage, who are alike in everything but the depth of the tumour.

    What is alike cannot be learnt as a sign of the stage, so that a small cohort teaches more; and the slices that
    only N4 sees are painted once. No family is ever used for evaluation.
    """
    first, clinical, _ = draw_phantom(seed, index, ranges)
    sketch = sketched_volume(first)
    family = []
    for stage in STAGES:
        phantom = Phantom(seed, index, stage, clinical.third, clinical.size_cm, first.scanner, ranges=ranges)
        family.append(_prepared(phantom, clinical, stage, sketch.copy(), contract))
    return family


def _prepared(
    phantom: Phantom, clinical: Clinical, stage: TStage, hu: np.ndarray, contract: PreprocessingContract
) -> PreparedPatient:
    areas, heights = phantom.tumour_areas(), phantom.positions_mm()
    key = int(np.argmax(areas))
    chosen = [max(key - 1, 0), key, min(key + 1, len(areas) - 1)]
    for k in set(chosen):
        hu[k] = phantom.slice_hu(float(heights[k]))
    volume = Volume.from_hu(hu, (phantom.scanner.thickness_mm, phantom.pixel_mm, phantom.pixel_mm))
    slices, geometry = prepare_volume(volume, key, contract)
    box = stomach_box(phantom, geometry, [float(heights[k]) for k in chosen])
    truths = [phantom.truth(float(heights[k])) for k in chosen]
    return PreparedPatient(
        index=phantom.index,
        stage=stage,
        scanner=phantom.scanner.name,
        clinical=clinical,
        slices=slices,
        box=box,
        site=_site(phantom, geometry),
        areas=areas,
        key_index=key,
        lesion=np.stack([_on_grid(truth.tumour, geometry) for truth in truths]),
        stomach=np.stack([_on_grid(truth.stomach, geometry) for truth in truths]),
        wall_mm=phantom.stomach.wall_mm,
    )


def _on_grid(mask: np.ndarray, geometry: PreparedGeometry) -> np.ndarray:
    """A slice's mask on the network's grid, nearest neighbour."""
    grid = np.arange(geometry.size)
    rows = np.round(geometry.row_origin + geometry.row_step * grid).astype(int)
    columns = np.round(geometry.column_origin + geometry.column_step * grid).astype(int)
    return np.asarray(mask[np.ix_(rows.clip(0, mask.shape[0] - 1), columns.clip(0, mask.shape[1] - 1))])


def _site(phantom: Phantom, geometry: PreparedGeometry) -> tuple[float, float]:
    """Row and column of the tumour's site on the network's grid."""
    (x, y, _), (dx, dy) = phantom.stomach.site.tolist(), phantom.anatomy.offset
    row, column = ((v / phantom.pixel_mm) + (phantom.matrix - 1) / 2 for v in (y + dy, x + dx))
    return (row - geometry.row_origin) / geometry.row_step, (column - geometry.column_origin) / geometry.column_step


def sketched_volume(phantom: Phantom) -> np.ndarray:
    """The volume painted coarsely, with the scanner's noise; HU, float32."""
    positions = phantom.positions_mm()
    count, matrix, scanner = len(positions), phantom.matrix, phantom.scanner
    hu = np.empty((count, matrix, matrix), np.float32)
    rng = np.random.default_rng([phantom.seed, phantom.index, 99])
    deviation = scanner.noise_hu * phantom.noise_factor
    bank = [quantum_noise(rng, (matrix, matrix), phantom.pixel_mm, deviation, scanner.noise_peak) for _ in range(2)]
    stride = max(1, int(SKETCH_STEP_MM / scanner.thickness_mm))
    coarse = np.empty((0, 0), np.float32)
    for k, z in enumerate(positions):
        if k % stride == 0:
            coarse = phantom.noiseless(float(z), matrix=matrix // SKETCH)
            coarse = np.repeat(np.repeat(coarse, SKETCH, 0), SKETCH, 1)
        noise = np.roll(bank[k % 2], tuple(rng.integers(0, matrix, 2)), (0, 1))
        hu[k] = coarse + noise * np.clip(coarse / 1000 + 1.25, 0.25, 1.0)
    return hu


def stomach_box(phantom: Phantom, geometry: PreparedGeometry, heights: list[float]) -> tuple[int, int, int, int]:
    """Rows and columns of the network's grid about the stomach on these slices, `BOX_MARGIN_MM` wider all around."""
    matrix = 128
    mask = np.any([phantom.truth(z, matrix).stomach for z in heights], axis=0)
    scale = phantom.matrix / matrix
    pad = BOX_MARGIN_MM / phantom.pixel_mm
    ends = []
    axes = ((1, geometry.row_origin, geometry.row_step), (0, geometry.column_origin, geometry.column_step))
    for axis, origin, step in axes:
        hit = np.flatnonzero(mask.any(axis=axis))
        low, high = hit[0] * scale - pad, (hit[-1] + 1) * scale + pad
        first, last = (low - origin) / step, (high - origin) / step
        ends += [int(np.clip(np.floor(first), 0, geometry.size)), int(np.clip(np.ceil(last), 0, geometry.size))]
    return ends[0], ends[1], ends[2], ends[3]
