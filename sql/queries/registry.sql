-- name: lock()
-- One change of the registry at a time; held until the transaction ends.
select pg_advisory_xact_lock(hashtext('gtr_batch.model_registry'));

-- name: insert(version, name, manifest, folder, cohort_digest)
-- A new version, as a candidate; no row comes back where it is there already.
insert into model_version (version, name, manifest, folder, cohort_digest)
values (%(version)s, %(name)s, %(manifest)s, %(folder)s, %(cohort_digest)s)
on conflict (version) do nothing
returning version;

-- name: note(version, action, from_state, to_state, by_whom, why)
-- A change of state: the row's trigger makes it.
insert into model_event (version, action, from_state, to_state, by_whom, why)
values (
    %(version)s, %(action)s, %(from_state)s::model_state, %(to_state)s::model_state, %(by_whom)s, %(why)s
);

-- name: canary_is_known(version)
-- Whether anything was ever kept of the model's canary: it may have staged before it was registered.
select canary_is_known(%(version)s) as known;

-- name: attach(version, kind, by_whom, content)
-- A document about a version.
insert into model_document (version, kind, by_whom, content) values (%(version)s, %(kind)s, %(by_whom)s, %(content)s);

-- name: document(version, kind)
-- The newest document of a kind.
select content, by_whom, at from model_document where version = %(version)s and kind = %(kind)s
order by model_document_id desc limit 1;

-- name: get(version)
-- One version, with its training report.
select
    version, name, state::text as state, folder, cohort_digest, manifest, registered_at, changed_at,
    coalesce(
        (
            select content from model_document as d where d.version = m.version and kind = 'training_report'
            order by model_document_id desc limit 1
        ),
        '{}'
    ) as training
from model_version as m where version = %(version)s;

-- name: state(version)
-- The state of a version.
select state::text as state from model_version where version = %(version)s;

-- name: champion()
-- The model that stages.
select version from model_version where state = 'champion';

-- name: all()
-- Every version, newest first.
select version, name, state::text as state, folder, cohort_digest, registered_at, changed_at
from model_version order by registered_at desc, version;

-- name: history(version)
-- What became of a version, oldest first.
select at, action, from_state::text as from_state, to_state::text as to_state, by_whom, why
from model_event where version = %(version)s order by model_event_id;

-- name: champion_events()
-- Who became champion and who ceased to be, in order.
select version, at, action, from_state::text as from_state, to_state::text as to_state, by_whom, why
from model_event where to_state = 'champion' or from_state = 'champion' order by model_event_id;

-- name: notices(version)
-- Structured reports of a version, with what became of them; the newest of its case says whether it is still current.
select
    o.case_id,
    c.night,
    c.study_uid,
    o.series_uid,
    o.sop_class_uid,
    o.sop_instance_uid,
    o.file,
    o.content_digest,
    o.first_written_at,
    exists (
        select from store_receipt as r
        where r.case_id = o.case_id and r.sop_instance_uid = o.sop_instance_uid
            and (r.status = 0 or r.status between 45056 and 49151)
    ) as stored,
    exists (
        select from report_object as later
        where later.case_id = o.case_id and later.kind = o.kind and later.sop_instance_uid <> o.sop_instance_uid
            and later.last_written_at > o.last_written_at
            and not exists (select from withdrawal_notice as w where w.notice_uid = later.sop_instance_uid)
    ) as superseded,
    n.notice_uid,
    exists (
        select from store_receipt as r
        where r.case_id = o.case_id and r.sop_instance_uid = n.notice_uid
            and (r.status = 0 or r.status between 45056 and 49151)
    ) as notice_stored,
    exists (select from report_gone as g where g.withdrawn_uid = o.sop_instance_uid) as gone,
    exists (
        select from report_rejection as j
        join store_receipt as r on r.case_id = o.case_id and r.sop_instance_uid = j.rejection_uid
        where j.withdrawn_uid = o.sop_instance_uid and (r.status = 0 or r.status between 45056 and 49151)
    ) as rejection_stored
from report_object as o
join staging_case as c using (case_id)
left join withdrawal_notice as n on n.withdrawn_uid = o.sop_instance_uid
where o.model_version = %(version)s and o.kind = 'structured_report' and c.state <> 'refused'
    and not exists (select from withdrawal_notice as w where w.notice_uid = o.sop_instance_uid)
order by c.night, o.case_id, o.first_written_at;

-- name: openings(digest)
-- When a cohort's sealed holdout was opened, for which model, by whom and why.
select model_version, opened_by, why, opened_at from holdout_opening
where digest = %(digest)s order by holdout_opening_id;

-- name: looks(digest)
-- Which models looked at a cohort's sealed holdout, or at one that shares a patient with it.
select digest, model_version from holdout_looks(%(digest)s);

-- name: save_gone(withdrawn_uid, version)
-- The PACS has neither this report nor its study any more.
insert into report_gone (withdrawn_uid, version) values (%(withdrawn_uid)s, %(version)s)
on conflict (withdrawn_uid) do nothing;

-- name: pictures(case_id, version)
-- What the PACS took of a case and model beside its structured reports, in the order in which it was written.
select o.sop_class_uid, o.sop_instance_uid, o.series_uid from report_object as o
where o.case_id = %(case_id)s and o.model_version = %(version)s
    and o.kind in ('parametric_map', 'secondary_capture', 'key_objects', 'encapsulated_pdf')
    and exists (
        select from store_receipt as r
        where r.case_id = o.case_id and r.sop_instance_uid = o.sop_instance_uid
            and (r.status = 0 or r.status between 45056 and 49151)
    )
order by o.kind, o.first_written_at, o.sop_instance_uid;

-- name: save_rejection(withdrawn_uid, version, rejection_uid)
-- This report is rejected by that key object.
insert into report_rejection (withdrawn_uid, version, rejection_uid)
values (%(withdrawn_uid)s, %(version)s, %(rejection_uid)s)
on conflict (withdrawn_uid) do nothing;

-- name: save_notice(withdrawn_uid, version, notice_uid)
-- This report is superseded by that notice.
insert into withdrawal_notice (withdrawn_uid, version, notice_uid)
values (%(withdrawn_uid)s, %(version)s, %(notice_uid)s)
on conflict (withdrawn_uid) do nothing;
