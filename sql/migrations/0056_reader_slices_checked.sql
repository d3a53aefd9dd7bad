-- A word that confirms names the key slice that was staged, one that moves it names another; neither is kept without one.
create or replace function reader_slices_kept() returns trigger
language plpgsql security definer set search_path = pg_catalog, public
as $$
declare
    staged text[];
begin
    select array_agg(l.sop_instance_uid order by l.position) into staged from public.slice_result as l
    where l.case_id = new.case_id and l.model_version = new.model_version;
    if coalesce(cardinality(staged), 0) <> 3 then
        raise exception 'this result has no key slice to confirm or to move' using errcode = 'check_violation';
    elsif new.kind = 'slice_confirmed' and new.slices <> staged then
        raise exception 'who confirms names the slices that were staged' using errcode = 'check_violation';
    elsif new.kind = 'slice_moved' and new.slices[2] = staged[2] then
        raise exception 'who moves the key slice names another' using errcode = 'check_violation';
    end if;
    insert into public.key_slice_confirmation (case_id, was, slices, by_whom, why, reader_word_id)
    values (
        new.case_id, staged[2], new.slices, new.reader, coalesce(nullif(trim(new.why), ''), 'read in the console'),
        new.reader_word_id
    );
    return null;
end
$$;
