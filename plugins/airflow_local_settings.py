"""Airflow imports this file as its local settings in every process: ours imports libraries before tasks are forked.

A site with local settings of its own (``$AIRFLOW_HOME/config/airflow_local_settings.py``) is given those; it copies the
two lines below into them.
"""

import sys

from gtr_airflow import preload

__all__: list[str] = []  # nothing of this becomes one of Airflow's settings

preload.before_tasks_are_forked(sys.argv)
