"""``python -m tests.bench.phase [--bodies 120]``: the contrast phase from few slices against that from all twelve.

Each phantom body is looked at in three phases, at the full matrix, in two worlds of contrast and noise; the phase that
validation finds from as few slices as decide it is held against the one that a dozen slices show, and against the phase
that was painted. Where they differ the series is named with what was measured.
"""

from __future__ import annotations

import argparse
from collections import Counter
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from multiprocessing import get_context

import numpy as np
from attrs import frozen
from rich.progress import track

from gtr_batch.domain.aorta_liver import GridSlice, measure
from gtr_batch.domain.contrast import PhaseEvidence, phase_of
from gtr_batch.simulation.hospital.cohort import draw_phantom
from gtr_batch.simulation.phantom.ranges import NARROW, PUBLISHED
from gtr_batch.simulation.phantom.scanner import Phase
from gtr_batch.validate.pixels import PixelLook

WORLDS = {"narrow": NARROW, "published": PUBLISHED}
DOZEN = 12
SEED = 60_119


@frozen
class Found:
    """What was found of one series."""

    world: str
    body: int
    scanner: str
    painted: str
    few: PhaseEvidence
    dozen: PhaseEvidence

    @property
    def off(self) -> tuple[float, float]:
        """HU of aorta and liver, few less dozen."""
        return self.few.aorta_hu - self.dozen.aorta_hu, self.few.liver_hu - self.dozen.liver_hu


def series_of(world: str, body: int) -> list[Found]:
    """Three series of a body."""
    phantom, _, _ = draw_phantom(SEED, body, WORLDS[world])
    heights = phantom.positions_mm()
    places = np.linspace(0, len(heights) - 1, DOZEN).round().astype(int)
    found = []
    for phase in Phase:
        spacing = (phantom.pixel_mm, phantom.pixel_mm)
        images = [GridSlice.of(phantom.slice_hu(float(heights[k]), phase), spacing) for k in places]
        look = PixelLook()
        look.kept = [(float(heights[k]), str(k), image) for k, image in zip(places, images, strict=True)]
        dozen = phase_of([measure(image) for image in images])
        painted = str(phase).replace(" ", "_")
        found.append(Found(world, body, phantom.scanner.name, painted, look.phase(), dozen))
    return found


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bodies", type=int, default=120, help="of each world, three series each")
    parser.add_argument("--processes", type=int, default=2)
    given = parser.parse_args()
    found: list[Found] = []
    with ProcessPoolExecutor(given.processes, mp_context=get_context("spawn")) as pool:
        for world in WORLDS:
            jobs = pool.map(partial(series_of, world), range(given.bodies), chunksize=4)
            for three in track(jobs, f"{world} world", total=given.bodies):
                found += three
    for world in WORLDS:
        _say(world, [one for one in found if one.world == world])


def _say(world: str, found: list[Found]) -> None:
    aorta, liver = np.array([one.off for one in found]).T
    right = Counter((one.painted, str(one.few.phase)) for one in found)
    print(f"\n{world}: {len(found)} series, {np.mean([one.few.slices for one in found]):.1f} of {DOZEN} slices")
    print(f"  same phase by few and by the dozen: {sum(one.few.phase == one.dozen.phase for one in found)}")
    print(f"  aorta off by {np.nanstd(aorta):.1f} HU (SD; most {np.nanmax(np.abs(aorta)):.0f}), "
          f"liver by {np.nanstd(liver):.1f} (most {np.nanmax(np.abs(liver)):.0f})")  # fmt: skip
    for (painted, said), count in sorted(right.items()):
        print(f"  painted {painted}, found {said}: {count}")
    for one in found:
        if one.few.phase != one.dozen.phase:
            numbers = (one.few.aorta_hu, one.few.liver_hu, one.dozen.aorta_hu, one.dozen.liver_hu)
            print(f"  differs: body {one.body}, {one.scanner}, painted {one.painted}: {one.few.phase} of "
                  f"{one.few.slices} ({numbers[0]:.0f}/{numbers[1]:.0f} HU), {one.dozen.phase} of {one.dozen.slices} "
                  f"({numbers[2]:.0f}/{numbers[3]:.0f} HU)")  # fmt: skip


if __name__ == "__main__":
    main()
