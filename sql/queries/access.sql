-- name: note(action, object_kind, object_id, actor, outcome, why)
-- Somebody looked at something, or was refused something.
insert into access_event (action, object_kind, object_id, actor, outcome, why)
values (%(action)s, %(object_kind)s, %(object_id)s, %(actor)s, %(outcome)s, %(why)s);

-- name: newest(most)
-- What was noted last, newest first.
select at, action, object_kind, object_id, actor, outcome, db_user, os_user, why, access_event_id as event_id
from access_event order by access_event_id desc limit %(most)s;

-- name: about(object_ids)
-- All that was noted about some objects, oldest first.
select at, action, object_kind, object_id, actor, outcome, db_user, os_user, why, access_event_id as event_id
from access_event where object_id = any(%(object_ids)s) order by access_event_id;

-- name: one_sender(receiver)
-- One sender to a receiver at a time; held until the transaction ends.
select pg_try_advisory_xact_lock(hashtext('gtr_batch.access_event'), hashtext(%(receiver)s)) as mine;

-- name: waiting(receiver, most)
-- What this receiver has not got, in the order in which it became visible; nothing of a transaction that is still open.
with reached as (
    select last_xact, last_access_event_id from access_event_sent where receiver = %(receiver)s
    order by access_event_sent_id desc limit 1
)
select
    e.at, e.action, e.object_kind, e.object_id, e.actor, e.outcome, e.db_user, e.os_user, e.why,
    e.access_event_id as event_id,
    e.xact::text as xact,
    coalesce(c.study_uid, '') as study_uid,
    coalesce(c.patient_id, '') as patient_id,
    coalesce(c.issuer_of_patient_id, '') as issuer_of_patient_id
from access_event as e
left join reached as r on true
left join staging_case as c on c.case_id::text = case
    when e.object_kind = 'case' then e.object_id
    when e.object_kind = 'instance' then (
        select o.case_id::text from report_object as o where o.sop_instance_uid = e.object_id
    )
end
where e.xact < pg_snapshot_xmin(pg_current_snapshot())
    and (r.last_xact is null or (e.xact, e.access_event_id) > (r.last_xact, r.last_access_event_id))
order by e.xact, e.access_event_id
limit %(most)s;

-- name: sent(receiver, xact, event_id)
-- The receiver has got everything up to this row.
insert into access_event_sent (receiver, last_xact, last_access_event_id)
values (%(receiver)s, %(xact)s::xid8, %(event_id)s);
