"""Metrics of staging on plain arrays: accuracy, calibration, agreement, utility, and their intervals; no files, no database."""
