"""The console: what people see of the nights, in Airflow's user interface."""
