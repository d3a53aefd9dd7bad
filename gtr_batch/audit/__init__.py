"""The monthly audit: labels as they come, monitors, drift, and the report that a physicist would sign."""
