"""What may be installed: releases pinned by version and by the hashes of their files, and nothing else."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parents[2]
ALL, SERVICE, BUILD = "constraints.txt", "constraints-service.txt", "constraints-build.txt"
LOCKS = (ALL, SERVICE, BUILD)
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
PIN = re.compile(r"([a-z0-9-]+)==(\S+)((?: --hash=sha256:[0-9a-f]{64})*)")


def locked(name: str) -> dict[str, tuple[str, frozenset[str]]]:
    """Version and hashes of each package of a lock file; a line of any other kind is an error."""
    text = (ROOT / name).read_text().replace(" \\\n    ", " ")
    found = {}
    for line in text.splitlines():
        if line.startswith("#"):
            continue
        pin = PIN.fullmatch(line)
        assert pin, line
        found[pin[1]] = (pin[2], frozenset(pin[3].split()))
    return found


def required(*extras: str) -> list[Requirement]:
    """What pyproject.toml asks for itself."""
    optional = PROJECT["project"]["optional-dependencies"]
    given = [*PROJECT["project"]["dependencies"], *(one for extra in extras for one in optional[extra])]
    return [Requirement(one) for one in given]


@pytest.mark.parametrize("name", LOCKS)
def test_every_package_is_pinned_by_the_hashes_of_its_files(name):
    packages = locked(name)

    assert packages
    assert [package for package, (_, hashes) in packages.items() if not hashes] == []


@pytest.mark.parametrize("name", LOCKS)
def test_a_lock_file_names_no_place_to_install_from(name):
    text = (ROOT / name).read_text()

    assert re.findall(r"://|--(?!hash=)\S+|^-\w", text, re.MULTILINE) == []


def test_a_hospital_installs_a_part_of_what_is_tested():
    everything, service, build = (locked(name) for name in LOCKS)

    assert service.items() < everything.items()
    assert build.items() - service.items() == {("pip", build["pip"])}  # it installs, and nothing of ours asks for it


@pytest.mark.parametrize("extra", ["demo", "test"])
def test_a_hospital_installs_no_test_tools_and_no_synthetic_hospital(extra):
    service = locked(SERVICE)
    extras = {canonicalize_name(one.name) for one in required(extra)} - {
        canonicalize_name(one.name) for one in required()
    }

    # Airflow itself needs psutil.
    assert extras & service.keys() <= {"psutil"}


@pytest.mark.parametrize(("name", "extras"), [(ALL, ("demo", "test")), (SERVICE, ())])
def test_the_lock_file_answers_what_the_project_asks_for(name, extras):
    packages = locked(name)

    wrong = [
        str(one)
        for one in required(*extras)
        if not one.specifier.contains(packages.get(canonicalize_name(one.name), ("0", 0))[0])
    ]
    assert wrong == []


def test_what_installs_holds_a_package_with_its_extras_to_the_pin_of_the_package():
    """pip 23.2, which Python 3.11 brings, takes the newest celery for ``celery[redis]``, and stops: it has no hash."""
    assert int(locked(BUILD)["pip"][0].split(".")[0]) >= 25
    assert (ROOT / "Makefile").read_text().index("-r constraints-build.txt") < (ROOT / "Makefile").read_text().index(
        "-r constraints.txt"
    )


def test_what_builds_the_project_is_pinned_too():
    build = locked(BUILD)

    for one in map(Requirement, PROJECT["build-system"]["requires"]):
        assert one.specifier.contains(build[canonicalize_name(one.name)][0])


def test_nothing_is_installed_without_a_hash_but_the_project_itself():
    """And nothing is built with packages that pip fetches for the build."""
    makefile = (ROOT / "Makefile").read_text()
    variables = dict(re.findall(r"^(\w+) = (.*)$", makefile, re.MULTILINE))
    recipes = re.findall(r"^\t@(\$\((?:PIP|LOCKED)\).*|.*pip install.*)$", makefile, re.MULTILINE)
    expanded = [re.sub(r"\$\((\w+)\)", lambda v: variables.get(v[1], v[0]), line) for line in recipes]

    assert len(expanded) == 6
    assert all("--no-build-isolation" in line for line in expanded)
    assert all("--require-hashes" in line or line.endswith("--no-deps -e .") for line in expanded)


def test_airflows_celery_executor_can_be_imported_with_the_locked_celery(tmp_path):
    """Celery 5.7 fits what Airflow's provider asks for (below 6) and took away what it imports: no worker started."""
    done = subprocess.run(
        [sys.executable, "-c", "import airflow.providers.celery.executors.celery_executor_utils"],
        env={**os.environ, "AIRFLOW_HOME": str(tmp_path)}, capture_output=True, text=True, check=False,
    )  # fmt: skip

    assert done.returncode == 0, done.stderr[-500:]
