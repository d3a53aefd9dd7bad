-- name: save_object(sop_instance_uid, case_id, kind, sop_class_uid, series_uid, file, content_digest, model_version, predecessors)
-- An object that was written; the same object again is only written later.
insert into report_object (
    sop_instance_uid, case_id, kind, sop_class_uid, series_uid, file, content_digest, model_version, predecessors
) select
    %(sop_instance_uid)s, case_id, %(kind)s, %(sop_class_uid)s, %(series_uid)s, %(file)s, %(content_digest)s,
    coalesce(%(model_version)s, model_version), %(predecessors)s
from staging_case where case_id = %(case_id)s
on conflict (sop_instance_uid) do update set
    file = excluded.file,
    content_digest = excluded.content_digest,
    model_version = excluded.model_version,
    predecessors = excluded.predecessors,
    last_written_at = clock_timestamp();

-- name: objects(case_id)
-- The newest object of each kind.
select distinct on (kind) kind, sop_class_uid, sop_instance_uid, series_uid, file, content_digest, predecessors
from report_object where case_id = %(case_id)s
order by kind, last_written_at desc, sop_instance_uid;

-- name: save_receipt(case_id, sop_instance_uid, status, warning)
-- What the PACS answered to a C-STORE.
insert into store_receipt (case_id, sop_instance_uid, status, warning)
values (%(case_id)s, %(sop_instance_uid)s, %(status)s, %(warning)s)
on conflict (case_id, sop_instance_uid, status) do update set
    warning = excluded.warning,
    last_received_at = clock_timestamp();

-- name: stored(case_id)
-- What the PACS took: success, or stored with a warning (PS3.4, B.2.3).
select distinct sop_instance_uid from store_receipt
where case_id = %(case_id)s and (status = 0 or status between 45056 and 49151); -- 0x0000, 0xB000 to 0xBFFF

-- name: save_commitment(case_id, transaction_uid, offered, committed, failed, read_back)
-- What the PACS committed, or listed.
insert into storage_commitment (case_id, transaction_uid, offered, committed, failed, read_back)
values (%(case_id)s, %(transaction_uid)s, %(offered)s, %(committed)s, %(failed)s, %(read_back)s)
on conflict (case_id, transaction_uid) do update set
    offered = excluded.offered,
    committed = excluded.committed,
    failed = excluded.failed,
    read_back = excluded.read_back,
    received_at = clock_timestamp();

-- name: lock(case_id)
-- One case, held against every other session until the transaction ends.
select case_id from staging_case where case_id = %(case_id)s for update;

-- name: commitments(case_id)
-- What the PACS committed, or listed, the latest last.
select transaction_uid, offered, committed, failed, read_back from storage_commitment
where case_id = %(case_id)s order by received_at, transaction_uid;
