"""The version of the code that made an audit: of what the audit imports, and of nothing else."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

import gtr_batch
from gtr_batch.audit import code_version as subject
from gtr_batch.audit.code_version import ROOTS, Code, code_of, code_version

PACKAGE = Path(gtr_batch.__file__).parent


@pytest.fixture(scope="module")
def code() -> Code:
    return code_of(ROOTS)


def names(code: Code) -> set[str]:
    return {str(path.relative_to(PACKAGE)) for path in code.files}


def test_the_code_version_is_the_same_each_time_and_names_the_release():
    assert code_version() == code_version.__wrapped__()
    assert code_version().startswith(f"{gtr_batch.__version__}+")


def test_all_that_python_loads_for_an_audit_is_in_it(code):
    program = (
        f"import importlib, json, sys; [importlib.import_module(m) for m in {ROOTS!r}]; "
        "print(json.dumps([m.__file__ for n, m in sys.modules.items() if n.partition('.')[0] == 'gtr_batch']))"
    )

    loaded = json.loads(subprocess.run([sys.executable, "-c", program], capture_output=True, check=True).stdout)

    assert {str(path) for path in code.files} >= set(loaded)


def test_what_functions_import_late_and_the_templates_are_in_it(code):
    assert names(code) >= {"audit/monitors/features.py", "audit/readers.py", "audit/report/templates/report.css"}


def test_what_no_audit_imports_is_not_in_it(code):
    folders = {name.split("/")[0] for name in names(code) if "/" in name}

    assert folders <= {"audit", "domain", "metrics"}
    assert "audit/run.py" not in names(code)
    assert not {"MAPIE", "torch", "pydicom", "psycopg2-binary"} & {name for name, _ in code.libraries}


def test_the_libraries_that_compute_and_draw_are_in_it_with_their_versions(code):
    found = dict(code.libraries)

    assert set(found) >= {"numpy", "scipy", "matplotlib", "reportlab", "Jinja2"}
    assert all(found.values())


def test_another_file_or_another_version_of_a_library_is_another_code_version(monkeypatch, code):
    def version_with(**changes: object) -> str:
        monkeypatch.setattr(subject, "code_of", lambda roots: Code(**{"files": (), "libraries": (), **changes}))
        return code_version.__wrapped__()

    versions = {
        version_with(),
        version_with(files=code.files),
        version_with(files=code.files[1:]),
        version_with(libraries=(("numpy", "2.4.6"),)),
        version_with(libraries=(("numpy", "2.4.7"),)),
    }

    assert len(versions) == 5
