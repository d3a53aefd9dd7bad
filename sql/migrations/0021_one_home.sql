-- How the series was selected, in the row and the transaction of the case: a case without it could only fail later.
alter table staging_case add column selection jsonb;
comment on column staging_case.selection is
    'How intake selected the series: flags, phase_confirmed, reasons with weights, sentence. Null where intake refused '
    'the study, and for cases found before this column was there.';

-- Flags of a result have one home. `no_storage_commitment` was worked out by every reader from storage_commitment.
update staging_result as r
set flags = r.flags || 'no_storage_commitment'::text
from staging_case as c
where c.case_id = r.case_id
    and c.model_version = r.model_version
    and c.state = 'committed'
    and not 'no_storage_commitment' = any (r.flags)
    and exists (
        select from storage_commitment as s where s.case_id = c.case_id and not s.offered
    );
comment on column staging_result.flags is
    'What a reader must know of this result: from stage, nomogram and deliver. The only place where flags are kept.';
