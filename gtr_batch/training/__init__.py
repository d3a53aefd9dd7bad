"""Training: from prepared slices with known stages to a network. Use case; knows no files, no database, no Airflow."""
