"""What `gtr` imports before it does anything: who asks for help, or for a night, does not wait for libraries."""

from __future__ import annotations

import json
import subprocess
import sys

#: Not needed to print what commands there are; of our own modules the settings, the steps, the adapters.
NOT_FOR_HELP = {"numpy", "scipy", "pydicom", "structlog", "cattrs", "asyncio", "torch", "psycopg2"}
OURS_NOT_FOR_HELP = ("gtr_batch.config", "gtr_batch.night", "gtr_batch.wiring", "gtr_batch.audit", "gtr_batch.stage")
#: Not needed by a site that nobody has asked for anything yet: every task of a night and every command opens one.
NOT_FOR_A_SITE = {
    "scipy",
    "torch",
    "torchvision",
    "great_expectations",
    "pytorch_grad_cam",
    "matplotlib",
    "pandas",
    "sklearn",
    "mlflow",
    "SimpleITK",
    "highdicom",
    "airflow",
    "jinja2",
}


def imported_by(script: str) -> set[str]:
    """Modules that a fresh interpreter has imported at the end of a script."""
    script += "\nimport json, sys\nprint(json.dumps(sorted(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    return set(json.loads(done.stdout.splitlines()[-1]))


def test_help_imports_no_library_of_a_step():
    found = imported_by("from gtr_batch.cli import app\napp(['--help'], standalone_mode=False)")

    assert found & NOT_FOR_HELP == set()
    assert [name for name in found if name.startswith(OURS_NOT_FOR_HELP)] == []


def test_help_of_a_noun_imports_none_either():
    found = imported_by("from gtr_batch.cli import app\napp(['audit', 'month', '--help'], standalone_mode=False)")

    assert found & NOT_FOR_HELP <= {"structlog", "asyncio"}  # how to log is settled before a noun is looked at


def test_a_site_is_opened_without_the_libraries_of_its_steps():
    found = imported_by(
        "from gtr_batch import night\n"
        "from gtr_batch.config import Config\n"
        "from gtr_batch.night.close import night_cases\n"
        "from gtr_batch.wiring import open_governance\n"
        "with open_governance(Config()) as gov: assert gov.night.hold"
    )

    assert found & NOT_FOR_A_SITE == set()
