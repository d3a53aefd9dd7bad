-- name: confirm(case_id, was, slices, by_whom, why)
-- A reader's word on the key slice of a case.
insert into key_slice_confirmation (case_id, was, slices, by_whom, why)
values (%(case_id)s, %(was)s, %(slices)s, %(by_whom)s, %(why)s);

-- name: confirmations(case_id)
-- What readers said of a case's key slice, oldest first.
select case_id::text as case_id, was, slices, by_whom, why, at
from key_slice_confirmation where case_id = %(case_id)s order by key_slice_confirmation_id;
