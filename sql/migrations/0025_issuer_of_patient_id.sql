-- Who issued a case's PatientID: two hospitals behind one PACS may have given the same one to two patients.
alter table staging_case add column issuer_of_patient_id text not null default '';
comment on column staging_case.issuer_of_patient_id is
    'Issuer of Patient ID (0010,0021); empty where the PACS does not say, and for cases found before this column was '
    'there. Compared where both sides have one.';
