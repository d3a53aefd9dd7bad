"""The libraries of the steps, imported once by the process that tasks are forked from.

A task is a fork: of the scheduler's workers (LocalExecutor), or of a Celery worker's. What the parent has imported is
there, and its memory is shared until it is written to. What the parent has not imported each task imports again: 1 to
5 s of a core, for some steps more than their work.

Imported is what is safe to fork: nothing here starts a thread of Python's, opens a connection or touches a GPU
(CUDA cannot be forked once it was begun). OpenBLAS starts threads as numpy is imported, and renews them in a fork by
itself; OpenMP's come with the first tensor, in the task. LocalExecutor and the Celery provider freeze the garbage
collector's objects before they fork, so that a collection does not copy what is shared.

Our own modules are not among them (0.2 s): a task always runs the code that is installed.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from importlib import import_module

LIBRARIES = (
    "attrs",
    "cattrs",
    "great_expectations.expectations",
    "highdicom.ko",
    "highdicom.pm",
    "highdicom.sc",
    "highdicom.sr",
    "matplotlib.colors",
    "matplotlib.font_manager",
    "numpy",
    "pandas",
    "psycopg2.extras",
    "pydicom",
    "pynetdicom",
    "pytorch_grad_cam",
    "safetensors.torch",
    "scipy.ndimage",
    "scipy.stats",
    "SimpleITK",
    "structlog",
    "torch",
    "torchvision.models.resnet",
)


def before_tasks_are_forked(command: Sequence[str]) -> list[str]:
    """Import the libraries where this process is one that tasks are forked from, and the site wants that.

    Parameters
    ----------
    command : sequence of str
        The command line of this process, as in `sys.argv`.

    Returns
    -------
    list of str
        What could not be imported: a task that needs it will say so.
    """
    return import_libraries() if forks_tasks(command) and _wanted() else []


def forks_tasks(command: Sequence[str]) -> bool:
    """Whether this is the scheduler of a LocalExecutor, or a Celery worker, and its tasks are forked."""
    from airflow.configuration import conf

    if conf.getboolean("core", "execute_tasks_new_python_interpreter", fallback=False):
        return False
    if list(command[1:3]) == ["celery", "worker"]:
        return True
    return list(command[1:2]) == ["scheduler"] and "LocalExecutor" in conf.get("core", "executor", fallback="")


def _wanted() -> bool:
    """`night.preload_libraries`; True where the settings cannot be read, which the tasks will say."""
    from gtr_batch.config import load
    from gtr_batch.errors import ConfigError

    try:
        return load().night.preload_libraries
    except ConfigError:
        return True


def import_libraries() -> list[str]:
    """Import them; returns those that cannot be."""
    os.environ["GX_ANALYTICS_ENABLED"] = "False"  # before the import: no usage statistics leave the hospital
    missing = []
    for name in LIBRARIES:
        try:
            import_module(name)
        except Exception:  # noqa: BLE001 - whatever a broken library raises: the scheduler starts all the same
            missing.append(name)
    return missing
