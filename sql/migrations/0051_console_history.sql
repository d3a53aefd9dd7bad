-- The console lists audits newest first and goes on from one, whatever their kind.
create index on audit_run (made_at, run_id);
-- Two indexes of PatientIDs do the same work; the one for all of them stays.
drop index if exists staging_case_patient_id_idx1;
