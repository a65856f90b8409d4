-- What operators ask the leader for, and what became of it. Only added to; kept for 400 days, also by pruning.
create table if not exists analytics_refresh.operator_requests (
    request_id uuid primary key default gen_random_uuid(),
    kind text not null check (kind in ('refresh', 'pause', 'resume')),
    actor text not null check (btrim(actor) <> '' and char_length(actor) <= 300),
    reason text check (char_length(reason) <= 500),
    pause_for interval,
    requested_at timestamptz not null default clock_timestamp(),
    expires_at timestamptz not null,
    database_role text not null default session_user);
create index if not exists operator_requests_requested_at on analytics_refresh.operator_requests (requested_at);
comment on table analytics_refresh.operator_requests is 'What operators asked for, written by request() alone. Rows are only added.';
comment on column analytics_refresh.operator_requests.request_id is 'The request, as the API names it.';
comment on column analytics_refresh.operator_requests.kind is 'refresh, pause or resume.';
comment on column analytics_refresh.operator_requests.actor is 'Who asked: the id of a key, or user: and the user of a token.';
comment on column analytics_refresh.operator_requests.reason is 'Why, as that person said; a pause has one.';
comment on column analytics_refresh.operator_requests.pause_for is 'How long a pause is to last; null for the others.';
comment on column analytics_refresh.operator_requests.requested_at is 'When, by the server''s clock.';
comment on column analytics_refresh.operator_requests.expires_at is 'Until when a leader may take it.';
comment on column analytics_refresh.operator_requests.database_role is 'The role that wrote it: that of the API.';
comment on index analytics_refresh.operator_requests_pkey is 'One row per request.';
comment on index analytics_refresh.operator_requests_requested_at is 'The newest, and those old enough to go.';

create table if not exists analytics_refresh.operator_request_steps (
    request_id uuid not null references analytics_refresh.operator_requests (request_id) on delete cascade,
    step text not null check (step in ('taken', 'ended')),
    noted_at timestamptz not null default clock_timestamp(),
    replica text not null,
    run_id uuid,
    joined boolean,
    outcome text check (
        outcome in ('ok', 'partial', 'failed', 'timeout', 'cancelled', 'unknown', 'skipped', 'expired')),
    detail text,
    paused_until timestamptz,
    pauses_ended integer,
    primary key (request_id, step),
    check ((step = 'ended') = (outcome is not null)));
comment on table analytics_refresh.operator_request_steps is 'What the leader did with each request, once. Rows are only added.';
comment on column analytics_refresh.operator_request_steps.request_id is 'The request.';
comment on column analytics_refresh.operator_request_steps.step is 'taken: a refresh for it runs; ended.';
comment on column analytics_refresh.operator_request_steps.noted_at is 'When, by the server''s clock.';
comment on column analytics_refresh.operator_request_steps.replica is 'The daemon that did it.';
comment on column analytics_refresh.operator_request_steps.run_id is 'The run that refreshed for it, in the step taken.';
comment on column analytics_refresh.operator_request_steps.joined is 'Whether that run had begun before; in the step taken.';
comment on column analytics_refresh.operator_request_steps.outcome is 'How it ended: as the run; ok or failed for the others; expired: nobody took it.';
comment on column analytics_refresh.operator_request_steps.detail is 'Why it ended so; null when ok.';
comment on column analytics_refresh.operator_request_steps.paused_until is 'Until when refreshes are paused since then.';
comment on column analytics_refresh.operator_request_steps.pauses_ended is 'How many pauses resume ended.';
comment on index analytics_refresh.operator_request_steps_pkey is 'One row per request and step: two leaders cannot both do it.';
comment on constraint operator_request_steps_request_id_fkey on analytics_refresh.operator_request_steps is 'A request takes its steps along.';

create or replace function analytics_refresh.keep_request() returns trigger
language plpgsql set search_path = pg_catalog, pg_temp
as $keep_request$
begin
    if tg_table_name = 'operator_requests' then
        if old.requested_at < clock_timestamp() - interval '400 days' then
            return old;
        end if;
    -- a step goes with its request, and alone never
    elsif not exists (
        select from analytics_refresh.operator_requests r where r.request_id = old.request_id)
    then
        return old;
    end if;
    raise exception using errcode = '55000',
        message = 'analytics_refresh.' || tg_table_name || ' keeps a request for 400 days';
end
$keep_request$;
comment on function analytics_refresh.keep_request() is 'Keeps requests of the last 400 days from being deleted.';
revoke execute on function analytics_refresh.keep_request() from public;
create or replace trigger operator_requests_only_added before update or truncate on analytics_refresh.operator_requests
    for each statement execute function analytics_refresh.refuse_change();
comment on trigger operator_requests_only_added on analytics_refresh.operator_requests is 'A request is not changed.';
create or replace trigger operator_requests_kept before delete on analytics_refresh.operator_requests
    for each row execute function analytics_refresh.keep_request();
comment on trigger operator_requests_kept on analytics_refresh.operator_requests is 'It goes after 400 days.';
create or replace trigger operator_request_steps_only_added before update or truncate
    on analytics_refresh.operator_request_steps
    for each statement execute function analytics_refresh.refuse_change();
comment on trigger operator_request_steps_only_added on analytics_refresh.operator_request_steps is 'A step is not changed.';
create or replace trigger operator_request_steps_kept before delete on analytics_refresh.operator_request_steps
    for each row execute function analytics_refresh.keep_request();
comment on trigger operator_request_steps_kept on analytics_refresh.operator_request_steps is 'It goes with its request.';

-- The one way to ask. Definer: who may ask has no right on the tables.
create or replace function analytics_refresh.request(kind text, actor text, reason text, "for" interval) returns uuid
language plpgsql volatile security definer set search_path = pg_catalog, pg_temp
as $request$
declare
    asked_at constant timestamptz := clock_timestamp();
    of_all integer;
    of_actor integer;
    made uuid;
begin
    -- with its owner's rights, so on its owner's table alone, without a trigger of another's
    if not exists (
        select from pg_namespace n
        join pg_class c on c.relnamespace = n.oid and c.relname = 'operator_requests' and c.relkind = 'r'
        where n.nspname = 'analytics_refresh' and pg_get_userbyid(n.nspowner) = current_user
            and c.relowner = n.nspowner
            -- 10: the superuser that the cluster began with, who owns the triggers of foreign keys
            and not exists (
                select from pg_trigger g join pg_proc f on f.oid = g.tgfoid
                where g.tgrelid = c.oid and f.proowner not in (n.nspowner, 10)))
    then
        raise exception using errcode = '55000',
            message = 'the table of requests belongs to another role: run analytics-refreshd check';
    end if;
    if request.kind is null or request.kind not in ('refresh', 'pause', 'resume') then
        raise exception using errcode = '22023', message = 'a request is for refresh, pause or resume';
    end if;
    if request.actor is null or btrim(request.actor) = '' or char_length(request.actor) > 300
        or request.actor ~ '[[:cntrl:]]'
    then
        raise exception using errcode = '22023', message = 'a request names who asks, in 300 characters at most';
    end if;
    if char_length(request.reason) > 500 or request.reason ~ '[[:cntrl:]]' then
        raise exception using errcode = '22023', message = 'a reason has 500 characters at most, on one line';
    end if;
    if request.kind = 'pause' then
        if request.reason is null or btrim(request.reason) = '' then
            raise exception using errcode = '22023', message = 'a pause needs a reason that others can read';
        end if;
        if request."for" is null or not isfinite(request."for") or asked_at + request."for" <= asked_at
            or asked_at + request."for" - asked_at > interval '7 days'
        then
            raise exception using errcode = '22023', message = 'a pause lasts more than nothing and at most 7 days';
        end if;
    elsif request."for" is not null then
        raise exception using errcode = '22023', message = 'only a pause has a length';
    end if;
    -- counted one after the other, so that the bounds are exact
    lock table analytics_refresh.operator_requests in share row exclusive mode;
    select count(*), count(*) filter (where r.actor = request.actor) into of_all, of_actor
    from analytics_refresh.operator_requests r
    where r.requested_at > asked_at - interval '1 hour';
    if of_all >= 200 or of_actor >= 20 then
        raise exception using errcode = '54000', message = 'too many requests in the hour: 20 by one, 200 by all';
    end if;
    insert into analytics_refresh.operator_requests (kind, actor, reason, pause_for, requested_at, expires_at)
    values (request.kind, request.actor, nullif(btrim(request.reason), ''), request."for", asked_at,
        asked_at + interval '5 minutes')
    returning operator_requests.request_id into made;
    perform pg_notify('analytics_refresh_requests', '');
    return made;
end
$request$;
comment on function analytics_refresh.request(text, text, text, interval) is
    'Asks the leader for a refresh, a pause or its end, and returns the request''s id; who asked is kept.';
revoke execute on function analytics_refresh.request(text, text, text, interval) from public;

create or replace function analytics_refresh.request_state(id uuid)
returns table (request_id uuid, kind text, actor text, reason text, pause_for interval, requested_at timestamptz,
    expires_at timestamptz, state text, run_id uuid, joined boolean, ended_at timestamptz, outcome text, detail text,
    paused_until timestamptz, pauses_ended integer, led boolean)
language sql volatile security invoker rows 1 set search_path = pg_catalog, pg_temp
as $request_state$
    select r.request_id, r.kind, r.actor, r.reason, r.pause_for, r.requested_at, r.expires_at,
        case when e.outcome = 'expired' or (e.step is null and t.step is null and r.expires_at <= clock_timestamp())
            then 'expired'
        when e.step is not null then 'ended'
        when t.step is not null then 'running'
        else 'waiting' end,
        t.run_id, t.joined, e.noted_at, e.outcome, e.detail, e.paused_until, e.pauses_ended,
        exists (
            select from pg_locks l
            where l.locktype = 'advisory' and l.classid = 2583 and l.objid = 1 and l.objsubid = 2 and l.granted
                and l.database = (select d.oid from pg_database d where d.datname = current_database()))
    from analytics_refresh.operator_requests r
    left join analytics_refresh.operator_request_steps t on t.request_id = r.request_id and t.step = 'taken'
    left join analytics_refresh.operator_request_steps e on e.request_id = r.request_id and e.step = 'ended'
    where r.request_id = request_state.id;
$request_state$;
comment on function analytics_refresh.request_state(uuid) is
    'What became of a request: waiting, running, ended or expired; and whether a daemon leads now.';
revoke execute on function analytics_refresh.request_state(uuid) from public;
