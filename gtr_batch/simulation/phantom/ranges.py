"""From what ranges a phantom's wall, distension, contrast and noise are drawn."""

from __future__ import annotations

from attrs import frozen

Range = tuple[float, float]


@frozen
class Ranges:
    """Lowest and highest value of what is drawn evenly between them.

    `wall_mm`: all layers of the wall at the tumour's site, the tumour not counted; None: as the first phantoms' layers
    (10.2 to 13.0). `body_wall_mm`, `antrum_wall_mm`: the wall away from the site, in the upper two thirds and in the
    lower one; None: 0.36 to 0.50 of the wall at the site. `distension`: of the lumen's radii. `enhancement`: of all
    organs, of this body and injection, against the means of `HU`. `tumour_hu`: the tumour against its mean. `noise`:
    against the scanner's.
    """

    wall_mm: Range | None
    body_wall_mm: Range | None
    antrum_wall_mm: Range | None
    distension: Range
    enhancement: Range
    tumour_hu: Range
    noise: Range


NARROW = Ranges(
    wall_mm=None,
    body_wall_mm=None,
    antrum_wall_mm=None,
    distension=(0.82, 1.12),
    enhancement=(0.88, 1.12),
    tumour_hu=(-8.0, 10.0),
    noise=(0.85, 1.2),
)
"""Those of the first phantoms, chosen so that a small network learns them."""

PUBLISHED = Ranges(
    # From a normal antrum (5.1 +- 1.6 mm, ref. 1) to the thickest of the first phantoms. The antral cancers of ref. 2
    # measure 16.6 +- 7.3 mm, wall and tumour; a tumour adds 1.5 to 6 mm inside, and what it reaches beyond the wall.
    wall_mm=(5.0, 13.0),
    body_wall_mm=(1.6, 2.8),  # 2.0 +- 0.4 mm, ref. 1
    antrum_wall_mm=(3.0, 7.0),  # 4.0 mm in the best distended, 6.9 mm in the least, ref. 1
    # Ref. 1 grades four degrees from collapsed to full, without radii: these are our reading of them.
    distension=(0.60, 1.15),
    # Liver 92 to 124 HU, aorta 123 to 193 HU in the portal venous phase; 107 +- 14 HU for the liver in ref. 3.
    enhancement=(0.70, 1.30),
    # 72 to 122 HU. Medians of pT1 and pT2 are 68 and 88 HU in ref. 4; a wall's muscle has 76 HU here, its mucosa 112.
    tumour_hu=(-40.0, 10.0),
    # 6 to 21 HU in a body of average size: 8.1 HU in ref. 5, 12.6 +- 3.0 in ref. 3; noise indices of 11 to 17 were
    # compared in ref. 6, and 13 to 17 found best.
    noise=(0.70, 1.60),
)
"""From the literature, as far as it goes.

References
----------
1. Pickhardt PJ, Asher DB, AJR 2003; 181: 973-979 (153 patients without gastric disease).
2. Tongdee R, Kongkaw L, Tongdee T, J Med Assoc Thai 2012; 95: 1441-1448 (22 antral cancers).
3. Sun J et al., Chin J Radiol 2013; 47: 132-137 (30 patients, portal phase, polychromatic images of 1.25 mm).
4. Wang Z et al., Diagn Interv Radiol 2023; 29: 228-233 (86 patients, pT1 and pT2, without and with metastatic nodes).
5. Husarik DB et al., Acad Radiol 2011; 18: 822-827 (50 patients, 120 kV, noise index 11.5).
6. "Optimal BMI-adjusted noise index", J X-Ray Sci Technol 2016 (doi 10.3233/XST-16222; 320 patients).
"""

USUAL = PUBLISHED
"""What phantoms are drawn from unless asked otherwise: the ranges that the committed model was trained on."""
