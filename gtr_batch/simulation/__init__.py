"""The synthetic hospital: phantoms, EHR, PACS and database for demo, tests and power studies. Nothing else imports it."""
