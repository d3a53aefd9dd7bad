-- Which refusals the EHR has had new rows on since: they are worth another look.
alter table staging_case add column ehr_changed_at timestamptz;
comment on column staging_case.ehr_changed_at is
    'When the EHR last had new rows on the patient of a case that was refused for want of them. '
    'Written by load_extracts; null where it had none.';
