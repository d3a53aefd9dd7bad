-- name: hold()
-- One message about merged patients at a time: each is judged by those before it.
select pg_advisory_xact_lock(hashtext('gtr_batch.patient_merge'));

-- name: of_message(sender, control_id)
-- What a message said when it came before.
select old_id, old_issuer, new_id, new_issuer from patient_merge
where sender = %(sender)s and control_id = %(control_id)s order by place;

-- name: insert(sender, control_id, place, old_id, old_issuer, new_id, new_issuer, peer)
-- A patient has another PatientID from now on.
insert into patient_merge (sender, control_id, place, old_id, old_issuer, new_id, new_issuer, peer)
values (
    %(sender)s, %(control_id)s, %(place)s, %(old_id)s, %(old_issuer)s, %(new_id)s, %(new_issuer)s, %(peer)s
);

-- name: from_patients(patient_ids)
-- Every merge that these PatientIDs may have gone through, whatever number they had meanwhile, in the order they came.
with recursive reached (patient_id) as (
    select unnest(%(patient_ids)s::text[])
    union
    select m.new_id from patient_merge as m join reached as r on m.old_id = r.patient_id
)
select m.patient_merge_id as merge_id, m.old_id, m.old_issuer, m.new_id, m.new_issuer
from patient_merge as m
where m.old_id in (select patient_id from reached)
order by m.patient_merge_id;

-- name: merged_patients()
-- PatientIDs of cases that were ever merged into others.
select distinct c.patient_id from staging_case as c
where exists (select from patient_merge as m where m.old_id = c.patient_id);

-- name: note_case(case_id, patient_merge_id)
-- A case has another PatientID.
insert into patient_merge_case (case_id, patient_merge_id) values (%(case_id)s, %(patient_merge_id)s);
