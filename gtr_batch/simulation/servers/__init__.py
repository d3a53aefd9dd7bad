"""Embedded PostgreSQL, PACS and Airflow for the demos and tests."""
