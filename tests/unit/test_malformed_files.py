"""Malformed files: whatever is wrong with them, a reader refuses them, and nothing else happens.

The mutations are drawn by Hypothesis over valid files: CT slices of the phantoms in every transfer syntax that is
taken, key objects, a segmentation, a structure set, and the public files that pydicom brings with it.
"""

from __future__ import annotations

import logging
import struct
import tempfile
import warnings
from collections.abc import Callable
from functools import cache
from pathlib import Path

import pydicom
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGLSLossless,
    RLELossless,
)

from gtr_batch.config import ReportConfig, ValidateConfig
from gtr_batch.domain.refusal import Refusal, RefusalCode
from gtr_batch.errors import CaseRejected
from gtr_batch.intake.evidence import SeriesEvidence
from gtr_batch.intake.probe import read_probe
from gtr_batch.intake.select import select_portal_venous
from gtr_batch.pacs.arrivals import is_intact
from gtr_batch.preprocess import read_series
from gtr_batch.preprocess.key_slice import find_key_slice
from gtr_batch.preprocess.outline import lesion_on_grid
from gtr_batch.report import write_refusal
from gtr_batch.validate import headers
from gtr_batch.validate.headers import geometry
from gtr_batch.validate.pixels import PixelLook
from tests.builders import a_case, a_geometry, a_manifest
from tests.hostile_files import saved, slice_of
from tests.phantoms import abdomen_hu, write_series
from tests.unit.preprocess import outlines

pytestmark = pytest.mark.filterwarnings("ignore")
BUNDLED = Path(pydicom.__file__).parent / "data" / "test_files"
