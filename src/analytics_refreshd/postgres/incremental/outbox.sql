-- The outbox: what the fold adds to the rollups, kept as numbered batches until a warehouse has them. Created by
-- `migrate --warehouse` alone; without it the fold is as it ever was.

-- name: tables
create table if not exists analytics_refresh.outbox (
    singleton boolean primary key default true check (singleton),
    epoch integer not null default 1,
    epoch_id uuid not null default gen_random_uuid(),
    epoch_reason text not null default 'installation',
    epoch_at timestamptz not null default clock_timestamp(),
    recording boolean not null default false,
    base_batch bigint not null default 0,
    base_folded_at timestamptz,
    last_batch bigint not null default 0,
    rows_limit bigint not null default 5000000) with (fillfactor = 50);
insert into analytics_refresh.outbox default values on conflict do nothing;

create table if not exists analytics_refresh.outbox_batches (
    batch bigint primary key,
    batch_id uuid not null,
    rows bigint not null,
    folded_at timestamptz not null);

create table if not exists analytics_refresh.outbox_rows (
    batch bigint not null,
    n bigint not null,
    hour timestamptz,
    duration_ms integer,
    retry_count integer,
    trigger_id text,
    action_type text,
    status text);
create index if not exists outbox_rows_batch on analytics_refresh.outbox_rows (batch);

-- apart from `outbox`, so that what a sender notes never waits for a fold, nor a fold for it
create table if not exists analytics_refresh.outbox_sender (
    singleton boolean primary key default true check (singleton),
    acknowledged_batch bigint not null default 0,
    acknowledged_id uuid,
    acknowledged_at timestamptz) with (fillfactor = 50);
insert into analytics_refresh.outbox_sender default values on conflict do nothing;

create table if not exists analytics_refresh.outbox_ranges (
    epoch integer not null,
    place integer not null,
    kind text not null,
    from_hour_at bigint,
    until_hour_at bigint,
    from_trigger text,
    until_trigger text,
    sent_at timestamptz,
    primary key (epoch, place));

-- name: tables_comments
comment on table analytics_refresh.outbox is 'The one row that says which epoch the warehouse is to hold, and whether batches are kept.';
comment on column analytics_refresh.outbox.singleton is 'Always true: there is one row.';
comment on column analytics_refresh.outbox.epoch is 'The number of the epoch: an export of the rollups, and the batches after it.';
comment on column analytics_refresh.outbox.epoch_id is 'Its identity: a copy of this database that goes on by itself has another.';
comment on column analytics_refresh.outbox.epoch_reason is 'Why it began.';
comment on column analytics_refresh.outbox.epoch_at is 'When it began.';
comment on column analytics_refresh.outbox.recording is 'Whether folds keep batches: from the beginning of the export on.';
comment on column analytics_refresh.outbox.base_batch is 'The last batch that the export holds already.';
comment on column analytics_refresh.outbox.base_folded_at is 'When that was folded.';
comment on column analytics_refresh.outbox.last_batch is 'The number of the last batch.';
comment on column analytics_refresh.outbox.rows_limit is 'With more rows than that the outbox is emptied, and an export is due.';
comment on table analytics_refresh.outbox_batches is 'Batches that the warehouse has not acknowledged, one a fold.';
comment on column analytics_refresh.outbox_batches.batch is 'Its number.';
comment on column analytics_refresh.outbox_batches.batch_id is 'Its identity: the token by which the warehouse counts it once.';
comment on column analytics_refresh.outbox_batches.rows is 'How many rows it has.';
comment on column analytics_refresh.outbox_batches.folded_at is 'When it was folded.';
comment on table analytics_refresh.outbox_rows is 'What batches changed: n executions more, or less, of these values.';
comment on column analytics_refresh.outbox_rows.batch is 'The number of its batch.';
comment on column analytics_refresh.outbox_rows.n is 'How many executions came; negative: went.';
comment on column analytics_refresh.outbox_rows.hour is 'The hour (UTC) of executed_at.';
comment on column analytics_refresh.outbox_rows.duration_ms is 'duration_ms of these executions.';
comment on column analytics_refresh.outbox_rows.retry_count is 'retry_count of these executions.';
comment on column analytics_refresh.outbox_rows.trigger_id is 'trigger_id of these executions.';
comment on column analytics_refresh.outbox_rows.action_type is 'action_type of these executions.';
comment on column analytics_refresh.outbox_rows.status is 'status of these executions.';
comment on table analytics_refresh.outbox_sender is 'The one row that says what the warehouse acknowledged last.';
comment on column analytics_refresh.outbox_sender.singleton is 'Always true: there is one row.';
comment on column analytics_refresh.outbox_sender.acknowledged_batch is 'The last batch that the warehouse has.';
comment on column analytics_refresh.outbox_sender.acknowledged_id is 'The identity of that batch; null after an export.';
comment on column analytics_refresh.outbox_sender.acknowledged_at is 'When the warehouse acknowledged it.';
comment on table analytics_refresh.outbox_ranges is 'The parts of an export: ranges of hours or triggers.';
comment on column analytics_refresh.outbox_ranges.epoch is 'The epoch that is exported.';
comment on column analytics_refresh.outbox_ranges.place is 'The place of this part in the export.';
comment on column analytics_refresh.outbox_ranges.kind is 'What it is a range of: hours, triggers, trigger_hours.';
comment on column analytics_refresh.outbox_ranges.from_hour_at is 'Its first hour, in seconds since 1970.';
comment on column analytics_refresh.outbox_ranges.until_hour_at is 'The first hour that is not in it; null: it has no end.';
comment on column analytics_refresh.outbox_ranges.from_trigger is 'Its first trigger, in the order of bytes.';
comment on column analytics_refresh.outbox_ranges.until_trigger is 'The first trigger that is not in it; null: it has no end.';
comment on column analytics_refresh.outbox_ranges.sent_at is 'When the warehouse acknowledged it; null: not yet.';

-- name: installed
select to_regclass('analytics_refresh.outbox') is not null;

-- name: set_limit
update analytics_refresh.outbox set rows_limit = {rows} where rows_limit <> {rows};

-- name: batch
-- what the fold adds, once more: the same statement, so that neither is without the other
moved as materialized (
    select hour, trigger_id, action_type, status, duration_ms, retry_count, sum(n) as n
    from net
    where (select o.recording from analytics_refresh.outbox o)
    group by hour, trigger_id, action_type, status, duration_ms, retry_count having sum(n) <> 0),
batch as (
    update analytics_refresh.outbox o set last_batch = o.last_batch + 1
    where o.recording and exists (select from moved)
    returning o.last_batch),
batch_rows as (
    insert into analytics_refresh.outbox_rows (batch, n, hour, duration_ms, retry_count, trigger_id, action_type, status)
    select b.last_batch, m.n, m.hour, m.duration_ms, m.retry_count, m.trigger_id, m.action_type, m.status
    from batch b cross join moved m),
batch_noted as (
    insert into analytics_refresh.outbox_batches (batch, batch_id, rows, folded_at)
    select b.last_batch, gen_random_uuid(), (select count(*) from moved), clock_timestamp() from batch b),
{next}

-- name: restart
perform analytics_refresh.outbox_restart({reason});
    {next}

-- name: settle
perform analytics_refresh.outbox_settle();
    {next}

-- name: functions
-- Begins a new epoch, over `above` at least: what the warehouse has is not what the rollups were, so an export is due. Until
-- that begins no batches are kept.
create or replace function analytics_refresh.outbox_restart(reason text, above integer default 0) returns void
language plpgsql volatile security definer set search_path = pg_catalog, pg_temp
as $outbox_restart$
begin
    {refuse_unsound};
    perform from analytics_refresh.incremental for update;
    update analytics_refresh.outbox o
    set epoch = greatest(o.epoch, above) + 1, epoch_id = gen_random_uuid(), epoch_reason = reason,
        epoch_at = clock_timestamp(), recording = false;
    delete from analytics_refresh.outbox_batches;
end
$outbox_restart$;

-- After a fold: an outbox over its limit is given up, and what nobody sends any more leaves in portions.
create or replace function analytics_refresh.outbox_settle() returns void
language plpgsql volatile security invoker set search_path = pg_catalog, pg_temp
as $outbox_settle$
begin
    if (select sum(b.rows) from analytics_refresh.outbox_batches b) > (select o.rows_limit from analytics_refresh.outbox o) then
        perform analytics_refresh.outbox_restart('the outbox was full');
    end if;
    delete from analytics_refresh.outbox_rows r
    where r.ctid = any (array(
        select l.ctid from analytics_refresh.outbox_rows l
        where l.batch <= (
            select case when o.recording then o.base_batch else o.last_batch end from analytics_refresh.outbox o)
        -- along the index: where there are none, nobody looks at all that waits
        order by l.batch limit 20000));
end
$outbox_settle$;

-- Begins the export of the epoch: from here on folds keep batches, and what was folded before is what is exported.
-- False while the rollups are being built.
create or replace function analytics_refresh.outbox_start(portion bigint default 400000) returns boolean
language plpgsql volatile security definer set search_path = pg_catalog, pg_temp set jit = off
as $outbox_start$
declare
    first_hour_at constant bigint := '-9223372036854775808';
begin
    {refuse_unsound};
    perform from analytics_refresh.incremental for update;
    if (select o.recording from analytics_refresh.outbox o) then
        return true;
    end if;
    if (select not i.built or i.capture <> analytics_refresh.capture_now() from analytics_refresh.incremental i)
        or exists (select from analytics_refresh.rebuild_marks)
    then
        return false;
    end if;
    update analytics_refresh.outbox o
    set recording = true, base_batch = o.last_batch,
        base_folded_at = coalesce((select i.folded_at from analytics_refresh.incremental i), clock_timestamp());
    update analytics_refresh.outbox_sender s
    set acknowledged_batch = o.base_batch, acknowledged_id = null, acknowledged_at = null
    from analytics_refresh.outbox o;
    delete from analytics_refresh.outbox_batches;
    delete from analytics_refresh.outbox_ranges;
    with hours as (
        select {hour_at} as at, sum(m.n) as n from analytics_refresh.hour_cells m group by 1),
    hour_parts as (
        select h.at, floor((sum(h.n) over (order by h.at) - h.n) / portion) as part from hours h),
    hour_bounds as (
        select case when row_number() over (order by min(p.at)) = 1 then first_hour_at else min(p.at) end as at
        from hour_parts p group by p.part),
    hour_ranges as (
        select b.at, lead(b.at) over (order by b.at) as until_at from hour_bounds b
        union all
        select first_hour_at, null where not exists (select from hour_bounds)),
    trigger_parts as (
        select c.trigger_id,
            floor((sum(c.n) over (order by c.trigger_id collate "C") - c.n) / portion) as part
        from analytics_refresh.trigger_cells c),
    trigger_bounds as (
        select case when row_number() over (order by min(p.trigger_id collate "C")) = 1 then ''
            else min(p.trigger_id collate "C") end as at
        from trigger_parts p group by p.part),
    trigger_ranges as (
        select b.at, lead(b.at) over (order by b.at collate "C") as until_at from trigger_bounds b
        union all
        select '', null where not exists (select from trigger_bounds)),
    ranges as (
        select k.kind, r.at as from_hour_at, r.until_at as until_hour_at, null as from_trigger, null as until_trigger
        from hour_ranges r cross join (values ('hours'), ('trigger_hours')) k (kind)
        union all
        select 'triggers', null, null, r.at, r.until_at from trigger_ranges r)
    insert into analytics_refresh.outbox_ranges (
        epoch, place, kind, from_hour_at, until_hour_at, from_trigger, until_trigger)
    select o.epoch, row_number() over (order by r.kind, r.from_hour_at, r.from_trigger collate "C"), r.kind, r.from_hour_at,
        r.until_hour_at, r.from_trigger, r.until_trigger
    from ranges r cross join analytics_refresh.outbox o;
    return true;
end
$outbox_start$;

-- Notes that the warehouse has a part of the export. False where that is not the epoch any more.
create or replace function analytics_refresh.outbox_range_sent(sent_epoch integer, sent_place integer) returns boolean
language plpgsql volatile security definer set search_path = pg_catalog, pg_temp
as $outbox_range_sent$
begin
    {refuse_unsound};
    update analytics_refresh.outbox_ranges r set sent_at = clock_timestamp()
    where r.epoch = sent_epoch and r.place = sent_place
        and exists (select from analytics_refresh.outbox o where o.epoch = sent_epoch and o.recording);
    return found;
end
$outbox_range_sent$;

-- Takes away what the warehouse has: all batches up to this one. False where that is not the epoch any more.
create or replace function analytics_refresh.outbox_acknowledge(sent_epoch integer, sent_batch bigint) returns boolean
language plpgsql volatile security definer set search_path = pg_catalog, pg_temp
as $outbox_acknowledge$
declare
    sent_id uuid;
begin
    {refuse_unsound};
    if not exists (select from analytics_refresh.outbox o where o.epoch = sent_epoch and o.recording) then
        return false;
    end if;
    select b.batch_id into sent_id from analytics_refresh.outbox_batches b where b.batch = sent_batch;
    if sent_id is null then
        return false;
    end if;
    -- by name: of a range nobody knows how few rows it has, and all that waits would be read
    delete from analytics_refresh.outbox_rows r
    where r.batch = any (array(select b.batch from analytics_refresh.outbox_batches b where b.batch <= sent_batch));
    delete from analytics_refresh.outbox_batches b where b.batch <= sent_batch;
    update analytics_refresh.outbox_sender
    set acknowledged_batch = sent_batch, acknowledged_id = sent_id, acknowledged_at = clock_timestamp();
    return true;
end
$outbox_acknowledge$;

revoke execute on function analytics_refresh.outbox_restart(text, integer), analytics_refresh.outbox_settle(),
    analytics_refresh.outbox_start(bigint), analytics_refresh.outbox_range_sent(integer, integer),
    analytics_refresh.outbox_acknowledge(integer, bigint) from public;
comment on function analytics_refresh.outbox_restart(text, integer) is 'Begins a new epoch of the outbox: an export is due.';
comment on function analytics_refresh.outbox_settle() is 'Gives up an outbox over its limit, and removes rows of earlier epochs.';
comment on function analytics_refresh.outbox_start(bigint) is 'Begins the export of the rollups; false while they are being built.';
comment on function analytics_refresh.outbox_range_sent(integer, integer) is 'Notes that the warehouse has a part of the export.';
comment on function analytics_refresh.outbox_acknowledge(integer, bigint) is 'Removes the batches that the warehouse has.';

-- name: senders
-- whoever may fold may send; the horizon's tables, where there are any, it may read as a reader of the rollups
select distinct pg_get_userbyid(a.grantee) from pg_proc p, aclexplode(p.proacl) a
    where p.oid = 'analytics_refresh.fold()'::regprocedure and a.grantee <> 0

-- name: sender_grants
-- it reads the rollups and the outbox, and notes what the warehouse has
grant select on analytics_refresh.outbox, analytics_refresh.outbox_batches, analytics_refresh.outbox_rows,
    analytics_refresh.outbox_sender, analytics_refresh.outbox_ranges, analytics_refresh.hour_cells,
    analytics_refresh.trigger_cells, analytics_refresh.duration_counts, analytics_refresh.retry_counts,
    analytics_refresh.deltas, analytics_refresh.incremental to %1$I;
grant execute on function analytics_refresh.outbox_restart(text, integer), analytics_refresh.outbox_start(bigint),
    analytics_refresh.outbox_range_sent(integer, integer), analytics_refresh.outbox_acknowledge(integer, bigint) to %1$I

-- name: hour_at
-- seconds since 1970, as the warehouse knows hours: it has a place for no time, and for either end of it
case when m.hour is null then '-9223372036854775808'::bigint when m.hour = '-infinity' then -9223372036854775807
            when m.hour = 'infinity' then 9223372036854775807 else extract(epoch from m.hour)::bigint end

-- name: drop
drop function if exists analytics_refresh.outbox_restart(text, integer), analytics_refresh.outbox_settle(),
    analytics_refresh.outbox_start(bigint), analytics_refresh.outbox_range_sent(integer, integer),
    analytics_refresh.outbox_acknowledge(integer, bigint);
drop table if exists analytics_refresh.outbox, analytics_refresh.outbox_batches, analytics_refresh.outbox_rows,
    analytics_refresh.outbox_sender, analytics_refresh.outbox_ranges;
