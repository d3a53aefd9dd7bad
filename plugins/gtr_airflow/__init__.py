"""What ties `gtr_batch` to Airflow: retries, connections, alerts. Nothing here knows a DICOM attribute or a T stage."""
