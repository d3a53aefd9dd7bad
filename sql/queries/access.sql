-- name: note(action, object_kind, object_id, actor, outcome)
-- Somebody looked at something, or was refused something.
insert into access_event (action, object_kind, object_id, actor, outcome)
values (%(action)s, %(object_kind)s, %(object_id)s, %(actor)s, %(outcome)s);

-- name: newest(most)
-- What was noted last, newest first.
select at, action, object_kind, object_id, actor, outcome, db_user, os_user, access_event_id as event_id
from access_event order by access_event_id desc limit %(most)s;

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
    e.at, e.action, e.object_kind, e.object_id, e.actor, e.outcome, e.db_user, e.os_user, e.access_event_id as event_id,
    e.xact::text as xact,
    coalesce(
        (select c.study_uid from staging_case as c where e.object_kind = 'case' and c.case_id::text = e.object_id),
        (
            select c.study_uid from report_object as o join staging_case as c using (case_id)
            where e.object_kind = 'instance' and o.sop_instance_uid = e.object_id
        ),
        ''
    ) as study_uid
from access_event as e
left join reached as r on true
where e.xact < pg_snapshot_xmin(pg_current_snapshot())
    and (r.last_xact is null or (e.xact, e.access_event_id) > (r.last_xact, r.last_access_event_id))
order by e.xact, e.access_event_id
limit %(most)s;

-- name: sent(receiver, xact, event_id)
-- The receiver has got everything up to this row.
insert into access_event_sent (receiver, last_xact, last_access_event_id)
values (%(receiver)s, %(xact)s::xid8, %(event_id)s);
