"""What libraries quote, values of headers and addresses with their query: neither log nor warnings may hold it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from pydicom import dcmread

from tests.phantoms import abdomen_hu, write_series
from tests.planted import plant_unreadable, traces_in

READ = """
import logging, sys
logging.basicConfig(level=0)
logging.captureWarnings(True)
{first}
from pydicom import dcmread
for element in dcmread(sys.argv[1]):
    element.value
logging.getLogger("highdicom.base").warning("Zweigstein")
logging.getLogger("ours").warning("still heard")
"""


@pytest.fixture
def spoilt(tmp_path) -> Path:
    """An instance in which a name stands where numbers and codes do."""
    [path] = write_series(tmp_path, abdomen_hu(1, 16), change=lambda index, ds: plant_unreadable(ds))
    return path


@pytest.mark.parametrize(
    ("first", "quoted"), [("", True), ("import gtr_batch", False), ("import pydicom, gtr_batch", False)]
)
def test_a_value_that_breaks_the_rules_is_in_no_log_of_ours(spoilt, first, quoted):
    """Whichever is imported first; without us it is quoted, or this would show nothing."""
    done = subprocess.run(
        [sys.executable, "-c", READ.format(first=first), str(spoilt)], capture_output=True, text=True, check=False
    )

    assert "still heard" in done.stderr
    assert bool(traces_in(done.stderr.encode())) is quoted
    assert dcmread(spoilt, stop_before_pixels=True).SOPInstanceUID


ASK = """
import logging
logging.basicConfig(level=0)
{first}
import httpx
client = httpx.Client(transport=httpx.MockTransport(lambda request: httpx.Response(200)))
client.get("https://pacs.example/studies?AccessionNumber=Zweigstein")
logging.getLogger("ours").warning("still heard")
"""


@pytest.mark.parametrize(
    ("first", "quoted"), [("", True), ("import gtr_batch", False), ("import httpx, gtr_batch", False)]
)
def test_an_address_that_was_asked_for_is_in_no_log_of_ours(first, quoted):
    """It may hold an accession number, or the secret of a webhook; httpx logs each request with it."""
    done = subprocess.run([sys.executable, "-c", ASK.format(first=first)], capture_output=True, text=True, check=False)

    assert "still heard" in done.stderr
    assert ("Zweigstein" in done.stderr) is quoted
