create table analytics_refresh.pauses (
    pause_id bigint generated always as identity primary key,
    starts_at timestamptz not null default clock_timestamp(),
    ends_at timestamptz not null,
    reason text not null check (btrim(reason) <> ''),
    created_by text not null default session_user,
    ended_at timestamptz,
    constraint pauses_expire check (ends_at > starts_at and ends_at - starts_at <= interval '7 days'));
create index pauses_open on analytics_refresh.pauses (ends_at) where ended_at is null;
comment on table analytics_refresh.pauses is 'Times without refreshes. Refreshes stop while any row has starts_at <= now < ends_at and no ended_at.';
comment on sequence analytics_refresh.pauses_pause_id_seq is 'Numbers the pauses.';
comment on column analytics_refresh.pauses.pause_id is 'Its number.';
comment on column analytics_refresh.pauses.starts_at is 'From when.';
comment on column analytics_refresh.pauses.ends_at is 'When it ends by itself, at most 7 days later.';
comment on column analytics_refresh.pauses.reason is 'Why, as the person said.';
comment on column analytics_refresh.pauses.created_by is 'The role that asked.';
comment on column analytics_refresh.pauses.ended_at is 'When resume() ended it early; null otherwise.';
comment on constraint pauses_expire on analytics_refresh.pauses is 'A pause that nobody remembers ends by itself.';
comment on index analytics_refresh.pauses_pkey is 'One row per pause.';
comment on index analytics_refresh.pauses_open is 'The pauses that may still hold.';

create function analytics_refresh.pause(duration interval, reason text) returns timestamptz
language plpgsql volatile security invoker set search_path = pg_catalog, pg_temp
as $pause$
declare
    started timestamptz := clock_timestamp();
    paused_until timestamptz;
begin
    if duration is null or started + duration <= started or started + duration - started > interval '7 days' then
        raise exception using errcode = '22023', message = 'a pause lasts more than nothing and at most 7 days',
            hint = 'Call for example analytics_refresh.pause(''2 hours'', ''index rebuild'').';
    end if;
    if reason is null or btrim(reason) = '' then
        raise exception using errcode = '22023', message = 'a pause needs a reason that others can read';
    end if;
    insert into analytics_refresh.pauses (starts_at, ends_at, reason)
    values (started, started + pause.duration, left(pause.reason, 500));
    -- a longer pause that already holds is not shortened
    select max(p.ends_at) into paused_until from analytics_refresh.pauses p
    where p.ended_at is null and p.starts_at <= started;
    return paused_until;
end
$pause$;
comment on function analytics_refresh.pause(interval, text) is
    'Stops refreshes for a time (at most 7 days) and says until when; overlapping pauses hold until the last ends.';
revoke execute on function analytics_refresh.pause(interval, text) from public;

create function analytics_refresh.resume() returns integer
language plpgsql volatile security invoker set search_path = pg_catalog, pg_temp
as $resume$
declare
    resumed_at timestamptz := clock_timestamp();
    ended integer;
begin
    update analytics_refresh.pauses p set ended_at = resumed_at
    where p.ended_at is null and p.ends_at > resumed_at;
    get diagnostics ended = row_count;
    return ended;
end
$resume$;
comment on function analytics_refresh.resume() is 'Ends every pause now and says how many there were.';
revoke execute on function analytics_refresh.resume() from public;
