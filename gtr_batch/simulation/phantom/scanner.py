"""The three scanners of the paper's Table 4: what they write into headers, and what noise they leave in images."""

from __future__ import annotations

from enum import StrEnum

import numpy as np
import scipy.fft
from attrs import field, frozen


class Phase(StrEnum):
    """Contrast phase of a series."""

    UNENHANCED = "unenhanced"
    ARTERIAL = "arterial"
    PORTAL_VENOUS = "portal venous"


@frozen
class Scanner:
    """One centre's scanner and protocol (paper, Table 4); mm, mL, s, HU.

    `noise_hu` is the standard deviation in water at `thickness_mm`; `noise_peak` the spatial frequency, in
    cycles/mm, at which the kernel's noise power is largest. `offset` is minus the Rescale Intercept.
    """

    name: str
    manufacturer: str
    model: str
    software: str
    station: str
    kernel: str
    thickness_mm: float
    slices: int
    collimation_mm: tuple[float, float]
    agent: str
    concentration_mg_ml: int
    dose_ml: float
    rate_ml_s: float
    portal_delay_s: tuple[int, int]
    noise_hu: float
    noise_peak: float
    offset: int
    signed: bool
    descriptions: dict[Phase, str] = field(factory=dict)
    protocol: str = ""
    modulation: str = "XYZ_EC"
    kvp: int = 120
    arterial_delay_s: int = 30


TOSHIBA = Scanner(
    name="toshiba",
    manufacturer="TOSHIBA",
    model="Aquilion",
    software="V4.86ER003",
    station="CTLN01",
    kernel="FC13",
    thickness_mm=5.0,
    slices=36,
    collimation_mm=(0.5, 32.0),
    agent="Iodixanol 320",
    concentration_mg_ml=320,
    dose_ml=60.0,
    rate_ml_s=3.0,
    portal_delay_s=(50, 60),
    noise_hu=9.0,
    noise_peak=0.18,
    offset=0,
    signed=True,
    descriptions={
        Phase.UNENHANCED: "Stomach plain 5.0 CE",
        Phase.ARTERIAL: "Stomach arterial 5.0 CE",
        Phase.PORTAL_VENOUS: "Stomach portal vein 5.0 CE",
    },
    protocol="STOMACH 3PHASE",
)
PHILIPS = Scanner(
    name="philips",
    manufacturer="Philips",
    model="Brilliance 64",
    software="2.6.2",
    station="CTSJ02",
    kernel="B",
    thickness_mm=3.0,
    slices=54,
    collimation_mm=(0.625, 40.0),
    agent="Iohexol 350",
    concentration_mg_ml=350,
    dose_ml=80.0,
    rate_ml_s=2.5,
    portal_delay_s=(70, 70),
    noise_hu=11.0,
    noise_peak=0.22,
    offset=1024,
    signed=False,
    descriptions={
        Phase.UNENHANCED: "NC 5.0 B",
        Phase.ARTERIAL: "ART 5.0 B",
        Phase.PORTAL_VENOUS: "PV 3.0 B",
    },
    protocol="Upper abdomen dynamic",
    modulation="Z_EC",
)
INGENUITY = Scanner(
    name="ingenuity",
    manufacturer="Philips",
    model="Ingenuity CT",
    software="4.1.6",
    station="CTZJ03",
    kernel="C",
    thickness_mm=2.0,
    slices=78,
    collimation_mm=(0.625, 80.0),
    agent="Ioversol 350",
    concentration_mg_ml=350,
    dose_ml=80.0,
    rate_ml_s=3.0,
    portal_delay_s=(65, 70),
    noise_hu=13.0,
    noise_peak=0.26,
    offset=1024,
    signed=False,
    descriptions={
        Phase.UNENHANCED: "Abdomen w/o 5.0",
        Phase.ARTERIAL: "Abdomen arterial 5.0",
        Phase.PORTAL_VENOUS: "Abdomen venous 65-70s 2.0",
    },
    protocol="Gastric CA triphasic",
    modulation="Z_EC",
)
SCANNERS: tuple[Scanner, ...] = (TOSHIBA, PHILIPS, INGENUITY)


def quantum_noise(
    rng: np.random.Generator, shape: tuple[int, int], pixel_mm: float, deviation_hu: float, peak: float
) -> np.ndarray:
    """Correlated noise of a filtered back projection: power rises as a ramp and falls off with the kernel.

    Parameters
    ----------
    rng : numpy.random.Generator
    shape : (rows, columns)
    pixel_mm : float
        Pixel spacing, mm.
    deviation_hu : float
        Standard deviation of the result, HU.
    peak : float
        Spatial frequency of the largest noise power, cycles/mm.

    Returns
    -------
    numpy.ndarray
        HU, `shape`, float32.
    """
    fy = np.fft.fftfreq(shape[0], pixel_mm).astype(np.float32)[:, None]
    fx = np.fft.rfftfreq(shape[1], pixel_mm).astype(np.float32)[None, :]
    f2 = fx**2 + fy**2
    power = np.sqrt(f2) * np.exp(-f2 / (2 * peak**2))  # ramp x Gaussian kernel, maximal at `peak`
    amplitude = np.sqrt(power)
    white = rng.standard_normal((2, *power.shape), dtype=np.float32)
    noise = scipy.fft.irfft2((white[0] + 1j * white[1]) * amplitude, s=shape)
    return np.asarray(noise * (deviation_hu / noise.std()), np.float32)
