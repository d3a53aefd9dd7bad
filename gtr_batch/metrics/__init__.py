"""Metrics of staging on plain arrays, with their intervals: accuracy, calibration, agreement, utility."""
