"""Fixtures that all tests share. In CI an absent real part is a failure; elsewhere it is a skip that says why."""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import structlog

from gtr_batch import loopback

# The suite's workers share the cores: a pool of threads in each would wait, spinning, for the others' threads. NumPy,
# torch and SimpleITK read it as they are loaded, which is later; processes that tests start inherit it.
for _threads in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "ITK_GLOBAL_DEFAULT_NUMBER_OF_THREADS"):
    os.environ.setdefault(_threads, "1")

IN_CI = os.environ.get("CI", "").lower() in ("1", "true")


def _absent(what: str) -> None:
    if IN_CI:
        pytest.fail(f"{what}: CI must have it")
    pytest.skip(what)


@pytest.fixture(autouse=True)
def own_logging() -> Iterator[None]:
    """What a test or the command line does to structlog ends with the test."""
    yield
    structlog.reset_defaults()


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real CT and tables beside the checkout; never part of the repository."""
    folder = Path(os.environ.get("GTR_SHARED_DATA", Path(__file__).resolve().parents[2] / "shared" / "data"))
    if not folder.is_dir():
        pytest.skip(f"no real data at {folder}: it is not part of the repository")
    return folder


@pytest.fixture(scope="session")
def once_a_run(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str, Callable[[], Any]], Any]:
    """A function that gives what `make` returned (JSON) in whichever of the run's workers asked first for `name`."""
    folder = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        folder = folder.parent

    def once(name: str, make: Callable[[], Any]) -> Any:
        with (folder / f"{name}.json").open("a+") as kept:
            fcntl.flock(kept, fcntl.LOCK_EX)
            kept.seek(0)
            if text := kept.read():
                return json.loads(text)
            made = make()
            json.dump(made, kept)
            return made

    return once


@pytest.fixture(scope="session")
def need_program():
    """A function that returns the path of a program, or ends the test: a failure in CI, elsewhere a skip."""

    def need(name: str, package: str) -> str:
        beside_python = str(Path(sys.executable).parent)  # programs out of wheels, pynetdicom's `findscu` among them
        elsewhere = [folder for folder in os.get_exec_path() if folder != beside_python]
        found = shutil.which(name, path=os.pathsep.join([*elsewhere, "/usr/sbin", "/sbin", beside_python]))
        if not found:
            _absent(f"{name} is not installed (Debian: {package})")
        return str(found)

    return need


@pytest.fixture(scope="session")
def dicomweb_plugin() -> str:
    """Orthanc's plugin for DICOMweb."""
    path = Path("/usr/share/orthanc/plugins/libOrthancDicomWeb.so")
    if not path.exists():
        _absent("Orthanc's DICOMweb plugin is not installed (Debian: orthanc-dicomweb)")
    return str(path)


@pytest.fixture(scope="session")
def pixelmed() -> list[str]:
    """Command line of PixelMed's SR validator, less the file name."""
    if not Path("/usr/share/java/pixelmed.jar").exists() or not shutil.which("java"):
        _absent("PixelMed's DicomSRValidator is not installed (Debian: libpixelmed-java)")
    return [
        "java",
        "-Xss16m",
        "-Djdk.xml.xpathExprOpLimit=0",
        "-Djdk.xml.xpathTotalOpLimit=0",
        "-Djdk.xml.xpathExprGrpLimit=0",
        "-cp",
        "/usr/share/java/*",
        "com.pixelmed.validate.DicomSRValidator",
    ]


@pytest.fixture(scope="session")
def dciodvfy(need_program) -> Callable[[Path], str]:
    """A function that gives what dciodvfy, a wheel of our test requirements, says of a file."""
    program = need_program("dciodvfy", "none; the package dicom3tools")

    def say(path: Path) -> str:
        done = subprocess.run([program, str(path)], capture_output=True, text=True, check=False)
        return done.stdout + done.stderr

    return say


@pytest.fixture
def free_port() -> int:
    """A TCP port of the loopback interface that nobody listens on."""
    return loopback.free_port()
