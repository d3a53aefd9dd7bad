-- What a reader says about a result: each word is a row, nothing is changed or deleted, a word is taken back by another.

-- What the network and the nomogram answered, as one digest: a word is about an answer, and not about what replaced it.
create function result_digest(of_case uuid, of_model text) returns text
language sql stable security definer set search_path = pg_catalog, public
as $$
    select encode(sha256(convert_to(jsonb_build_array(
        s.model_version, s.t_stage, s.p_t1, s.p_t2, s.p_t3, s.p_t4, s.set_lowest, s.set_highest, s.set_coverage, s.not_staged,
        s.key_slice_source,
        (
            select jsonb_agg(l.sop_instance_uid order by l.position) from public.slice_result as l
            where l.case_id = s.case_id and l.model_version = s.model_version
        ),
        n.is_primary, n.p_t1, n.p_t2, n.p_t3, n.p_t4, n.points
    )::text, 'UTF8')), 'hex')
    from public.staging_result as s
    left join public.nomogram_result as n on n.case_id = s.case_id and n.model_version = s.model_version
    where s.case_id = of_case and s.model_version = of_model
$$;
comment on function result_digest is 'SHA-256 of the answer of a model to a case. Holds nothing of the patient.';
revoke all on function result_digest(uuid, text) from public;
grant execute on function result_digest(uuid, text) to gtr_app, gtr_governor, gtr_console;

create function is_shown_result(of_case uuid, of_model text, of_result text) returns boolean
language sql stable security definer set search_path = pg_catalog, public
as $$
    select exists (
        select from public.staging_case as c
        where c.case_id = of_case and c.model_version = of_model and c.state <> 'refused' and c.reached >= 'staged'
            and not exists (
                select from public.model_version as v where v.version = c.model_version and v.state = 'withdrawn'
            )
    ) and public.result_digest(of_case, of_model) = of_result
$$;
comment on function is_shown_result is 'Whether a case carries this result now, and its model is not withdrawn.';
revoke all on function is_shown_result(uuid, text, text) from public;

create table reader_own_stage (
    reader_own_stage_id bigint generated always as identity primary key,
    case_id             uuid not null references staging_case,
    model_version       text not null check (length(model_version) between 1 and 100),
    result              text not null check (length(result) = 64),
    reader              text not null check (length(trim(reader)) between 1 and 200),
    t_stage             text not null check (t_stage in ('T1', 'T2', 'T3', 'T4')),
    at                  timestamptz not null default clock_timestamp(),
    db_user             text not null default session_user,
    unique (case_id, result, reader)
);
comment on table reader_own_stage is
    'The stage that a reader gave of their own, where the site asks for it before the AI''s is shown; the first for a result '
    'holds. Append-only. No PHI. Written by the console.';

create table reader_shown (
    reader_shown_id bigint generated always as identity primary key,
    case_id         uuid not null references staging_case,
    model_version   text not null check (length(model_version) between 1 and 100),
    result          text not null check (length(result) = 64),
    reader          text not null check (length(trim(reader)) between 1 and 200),
    at              timestamptz not null default clock_timestamp(),
    unique (case_id, result, reader)
);
comment on table reader_shown is
    'When a reader was first shown a result of the AI, by a page of the console. Append-only. No PHI. Written by the console.';

create table reader_word (
    reader_word_id bigint generated always as identity primary key,
    case_id        uuid not null references staging_case,
    model_version  text not null check (length(model_version) between 1 and 100),
    result         text not null check (length(result) = 64),
    reader         text not null check (length(trim(reader)) between 1 and 200),
    role           text not null check (length(trim(role)) between 1 and 50),
    kind           text not null check (kind in ('agree', 'overrule', 'slice_confirmed', 'slice_moved', 'withdrawn')),
    t_stage        text check (t_stage in ('T1', 'T2', 'T3', 'T4')),
    slices         text[] check (cardinality(slices) = 3),
    withdraws      bigint unique,
    why            text not null default '' check (length(why) <= 2000),
    own_stage      text check (own_stage in ('T1', 'T2', 'T3', 'T4')),
    own_stage_at   timestamptz,
    ai_shown_at    timestamptz,
    at             timestamptz not null default clock_timestamp(),
    db_user        text not null default session_user,
    os_user        text not null default coalesce(nullif(current_setting('gtr.os_user', true), ''), 'not known'),
    unique (reader_word_id, case_id, reader),
    -- Only who said it takes it back.
    foreign key (withdraws, case_id, reader) references reader_word (reader_word_id, case_id, reader),
    check ((kind = 'overrule') = (t_stage is not null)),
    check (kind <> 'overrule' or length(trim(why)) > 0),
    check ((kind in ('slice_confirmed', 'slice_moved')) = (slices is not null)),
    check ((kind = 'withdrawn') = (withdraws is not null)),
    check ((own_stage is null) = (own_stage_at is null))
);
comment on table reader_word is
    'What a reader says about a result: agreed, overruled with a stage and a reason, the key slice confirmed or moved, or an '
    'earlier word of theirs taken back. The newest word that was not taken back holds. Append-only. No PHI. Written by the console '
    'and by gtr case read.';
comment on column reader_word.result is 'result_digest of the answer that the word is about.';
comment on column reader_word.slices is 'SOP Instance UIDs below, key and above, as the reader has it.';
comment on column reader_word.own_stage is 'What the reader had given before; with its time copied from reader_own_stage.';
comment on column reader_word.ai_shown_at is 'When the reader was first shown the result; copied from reader_shown.';
create index on reader_word (case_id, reader_word_id);

create trigger reader_own_stage_append_only before update or delete or truncate on reader_own_stage
for each statement execute function append_only();
create trigger reader_shown_append_only before update or delete or truncate on reader_shown
for each statement execute function append_only();
create trigger reader_word_append_only before update or delete or truncate on reader_word
for each statement execute function append_only();
create trigger access_noted after insert on reader_own_stage
for each row execute function access_noted('case.own_stage', 'case', 'case_id', 'reader');
create trigger access_noted after insert on reader_word
for each row execute function access_noted('case.reader_word', 'case', 'case_id', 'reader');

-- A word is about the result that the case carries; what was seen before is copied, so that nobody states it.
create function reader_word_checked() returns trigger
language plpgsql security definer set search_path = pg_catalog, public
as $$
begin
    if new.kind = 'withdrawn' then
        if exists (
            select from public.reader_word as w
            where w.reader_word_id = new.withdraws
                and (w.kind = 'withdrawn' or (w.model_version, w.result) <> (new.model_version, new.result))
        ) then
            raise exception 'a word that takes back cannot be taken back' using errcode = 'check_violation';
        end if;
    elsif not public.is_shown_result(new.case_id, new.model_version, new.result) then
        raise exception 'a word is about the result that its case carries' using errcode = 'check_violation';
    end if;
    new.own_stage := null;
    new.own_stage_at := null;
    select o.t_stage, o.at into new.own_stage, new.own_stage_at from public.reader_own_stage as o
    where o.case_id = new.case_id and o.result = new.result and o.reader = new.reader;
    new.ai_shown_at := (
        select s.at from public.reader_shown as s
        where s.case_id = new.case_id and s.result = new.result and s.reader = new.reader
    );
    return new;
end
$$;
revoke all on function reader_word_checked() from public;
create trigger reader_word_checked before insert on reader_word for each row execute function reader_word_checked();

create function own_stage_checked() returns trigger
language plpgsql security definer set search_path = pg_catalog, public
as $$
begin
    if not public.is_shown_result(new.case_id, new.model_version, new.result) then
        raise exception 'this is about the result that the case carries' using errcode = 'check_violation';
    end if;
    return new;
end
$$;
revoke all on function own_stage_checked() from public;
create trigger own_stage_checked before insert on reader_own_stage for each row execute function own_stage_checked();
create trigger shown_checked before insert on reader_shown for each row execute function own_stage_checked();

-- A reader's word on an automatic key slice enters the cohort as gtr case confirm-slice does, until it is taken back.
alter table key_slice_confirmation add column reader_word_id bigint unique references reader_word;
comment on column key_slice_confirmation.reader_word_id is 'The word it was said by; null for gtr case confirm-slice.';
create function reader_slices_kept() returns trigger
language plpgsql security definer set search_path = pg_catalog, public
as $$
begin
    insert into public.key_slice_confirmation (case_id, was, slices, by_whom, why, reader_word_id)
    select new.case_id, l.sop_instance_uid, new.slices, new.reader, coalesce(nullif(trim(new.why), ''), 'read in the console'),
        new.reader_word_id
    from public.slice_result as l
    where l.case_id = new.case_id and l.model_version = new.model_version and l.role = 'key';
    return null;
end
$$;
revoke all on function reader_slices_kept() from public;
create trigger reader_slices_kept after insert on reader_word
for each row when (new.slices is not null) execute function reader_slices_kept();

-- Messages about a word are written by a function, so that the console's login writes words and nothing else.
create function hold_case(of_case uuid) returns void
language plpgsql security definer set search_path = pg_catalog, public
as $$
begin
    perform from public.staging_case where case_id = of_case for no key update;
end
$$;
comment on function hold_case is 'Before a word is written that other systems are told of: versions of a case are counted by one.';
revoke all on function hold_case(uuid) from public;

create function tell_reader_word(of_word bigint, channels text[]) returns bigint
language plpgsql security definer set search_path = pg_catalog, public
as $$
declare
    said public.reader_word;
    standing public.reader_word;
    newest public.result_message;
    written bigint;
    reader jsonb;
begin
    select w.* into said from public.reader_word as w
    where w.reader_word_id = of_word and w.xmin::text = pg_current_xact_id()::xid::text;
    if said.reader_word_id is null or not (
        said.kind in ('agree', 'overrule')
        or exists (
            select from public.reader_word as w
            where w.reader_word_id = said.withdraws and w.kind in ('agree', 'overrule')
        )
    ) then
        return null;
    end if;
    select m.* into newest from public.result_message as m
    where m.case_id = said.case_id order by m.version desc limit 1;
    if newest.version is null or newest.kind = 'withdrawn' or newest.model_version <> said.model_version then
        return null; -- nobody was told of the result
    end if;
    select w.* into standing from public.reader_word as w
    where w.case_id = said.case_id and w.result = said.result and w.kind in ('agree', 'overrule')
        and not exists (select from public.reader_word as b where b.withdraws = w.reader_word_id)
    order by w.reader_word_id desc limit 1;
    if standing.reader_word_id is not null then
        reader := jsonb_build_object(
            'agrees', standing.kind = 'agree', 't_stage', standing.t_stage, 'at', standing.at
        );
    end if;
    insert into public.result_message (case_id, version, kind, model_version, content)
    values (
        said.case_id, newest.version + 1, 'reader', said.model_version,
        (newest.content - 'reader') || case when reader is null then '{}' else jsonb_build_object('reader', reader) end
    )
    returning result_message_id into written;
    insert into public.result_sending (result_message_id, channel, case_id)
    select written, one, said.case_id from unnest(channels) as one;
    return written;
end
$$;
comment on function tell_reader_word is
    'Writes the message about a word that was said in this transaction; none where nobody was told of its result.';
revoke all on function tell_reader_word(bigint, text[]) from public;
grant execute on function hold_case(uuid), tell_reader_word(bigint, text[]) to gtr_console, gtr_governor;

grant select on reader_word, reader_own_stage, reader_shown to gtr_app, gtr_governor, gtr_console;
grant insert (case_id, model_version, result, reader, role, kind, t_stage, slices, withdraws, why) on reader_word
to gtr_console, gtr_governor;
grant insert (case_id, model_version, result, reader, t_stage) on reader_own_stage to gtr_console;
grant insert (case_id, model_version, result, reader) on reader_shown to gtr_console;
