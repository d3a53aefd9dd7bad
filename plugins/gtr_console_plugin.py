"""Declares the console to Airflow. Every process of Airflow reads this file; only the API server builds the pages."""

from __future__ import annotations

from airflow.plugins_manager import AirflowPlugin

from gtr_console.lazy import LazyConsole

PREFIX = "/gtr"


class GtrConsolePlugin(AirflowPlugin):
    """The console: its pages under `PREFIX`, a line in the navigation, and a tab of a run of nightly_staging."""

    name = "gtr_console"
    fastapi_apps = [{"app": LazyConsole(), "url_prefix": PREFIX, "name": "gtr_console"}]  # noqa: RUF012 - Airflow's own form
    external_views = [  # noqa: RUF012
        {
            "name": "Gastric staging",
            "href": "gtr/",
            "destination": "nav",
            "url_route": "gastric-staging",
            "nav_top_level": True,
        },
        {
            "name": "Cases of the night",
            "href": "gtr/run?dag_id={DAG_ID}&run_id={RUN_ID}",
            "destination": "dag_run",
            "url_route": "gastric-staging-night",
        },
    ]
