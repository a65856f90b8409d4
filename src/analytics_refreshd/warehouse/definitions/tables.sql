-- The tables of the warehouse, in ClickHouse. `database` is the [service] name, first in every key, so that the figures of many
-- databases stand side by side and add up exactly. `epoch` is second: a new epoch is loaded beside the one that readers
-- use, and is read from when it is complete; then the partition of the older one is dropped.
-- Times are whole seconds of UTC since 1970: `hour_at` is the beginning of the hour, because a DateTime holds neither NULL nor
-- infinity, and the action log does. -9223372036854775808: no time; -9223372036854775807: -infinity; 9223372036854775807: infinity.
-- A correction is a row that takes away and a row that adds, so every table of cells is read with sum() and group by.

-- name: hour_totals
create table if not exists {target}.hour_totals (
    database LowCardinality(String),
    epoch UInt32,
    hour_at Int64,
    action_type LowCardinality(String),
    status LowCardinality(String),
    n Int64,
    timed Int64,
    duration_total Int64,
    retry_total Int64,
    retried Int64)
engine = SummingMergeTree((n, timed, duration_total, retry_total, retried))
partition by (database, epoch)
order by (database, epoch, hour_at, action_type, status)
settings non_replicated_deduplication_window = 10000
comment 'Executions per hour, action type and status.';

-- name: hour_durations
create table if not exists {target}.hour_durations (
    database LowCardinality(String),
    epoch UInt32,
    hour_at Int64,
    action_type LowCardinality(String),
    status LowCardinality(String),
    duration_ms Int32,
    n Int64)
engine = SummingMergeTree(n)
partition by (database, epoch)
order by (database, epoch, hour_at, action_type, status, duration_ms)
settings non_replicated_deduplication_window = 10000
comment 'Exact histogram: how many executions of an hour, action type and status took so many milliseconds.';

-- name: trigger_totals
create table if not exists {target}.trigger_totals (
    database LowCardinality(String),
    epoch UInt32,
    trigger_id String,
    n Int64,
    succeeded Int64,
    failed Int64,
    retrying Int64,
    timed Int64,
    duration_total Int64,
    tried Int64,
    retry_total Int64)
engine = SummingMergeTree((n, succeeded, failed, retrying, timed, duration_total, tried, retry_total))
partition by (database, epoch)
order by (database, epoch, trigger_id)
settings non_replicated_deduplication_window = 10000
comment 'Executions per trigger, of all time.';

-- name: trigger_durations
create table if not exists {target}.trigger_durations (
    database LowCardinality(String),
    epoch UInt32,
    trigger_id String,
    duration_ms Int32,
    n Int64)
engine = SummingMergeTree(n)
partition by (database, epoch)
order by (database, epoch, trigger_id, duration_ms)
settings non_replicated_deduplication_window = 10000
comment 'Exact histogram: how many executions of a trigger took so many milliseconds.';

-- name: trigger_retries
create table if not exists {target}.trigger_retries (
    database LowCardinality(String),
    epoch UInt32,
    trigger_id String,
    retry_count Int32,
    n Int64)
engine = SummingMergeTree(n)
partition by (database, epoch)
order by (database, epoch, trigger_id, retry_count)
settings non_replicated_deduplication_window = 10000
comment 'How many executions of a trigger had so many retries.';

-- name: trigger_hours
create table if not exists {target}.trigger_hours (
    database LowCardinality(String),
    epoch UInt32,
    hour_at Int64,
    trigger_id Nullable(String),
    action_type LowCardinality(String),
    status LowCardinality(String),
    frozen UInt8 default 0,
    organization_id Nullable(String),
    n Int64,
    timed Int64,
    duration_total Int64,
    retry_total Int64,
    retried Int64)
engine = SummingMergeTree((n, timed, duration_total, retry_total, retried))
partition by (database, epoch)
order by (database, epoch, hour_at, trigger_id, action_type, status, frozen, organization_id)
settings allow_nullable_key = 1, non_replicated_deduplication_window = 10000
comment 'Executions per trigger, hour, action type and status. frozen = 1: a whole day, at its noon, with its organization of then.';

-- name: deltas
-- Where batches land; the views below add each of them to the cells. A batch is one insert, which the token makes count once.
create table if not exists {target}.deltas (
    database LowCardinality(String),
    epoch UInt32,
    batch UInt64,
    batch_id UUID,
    folded_at DateTime64(6, 'UTC'),
    hour_at Int64,
    trigger_id Nullable(String),
    action_type LowCardinality(String),
    status LowCardinality(String),
    duration_ms Nullable(Int32),
    retry_count Nullable(Int32),
    n Int64,
    landed_at DateTime('UTC') default now())
engine = MergeTree
partition by (database, epoch)
order by (database, epoch, batch)
ttl landed_at + interval {keep_days} day
settings non_replicated_deduplication_window = 10000
comment 'Batches of changes as they came: n executions more, or less, of these values.';

-- name: batches
create table if not exists {target}.batches (
    database LowCardinality(String),
    epoch UInt32,
    batch UInt64,
    batch_id UUID,
    folded_at DateTime64(6, 'UTC'),
    rows UInt64,
    landed_at SimpleAggregateFunction(max, DateTime('UTC')))
engine = SummingMergeTree(rows)
partition by (database, epoch)
order by (database, epoch, batch, batch_id, folded_at)
settings non_replicated_deduplication_window = 10000
comment 'The batches that landed, each with its number, its identity, and when PostgreSQL folded it.';

-- name: epochs
create table if not exists {target}.epochs (
    database LowCardinality(String),
    epoch UInt32,
    epoch_id UUID,
    base_batch UInt64,
    folded_at DateTime64(6, 'UTC'),
    completed_at DateTime64(3, 'UTC') default now64(3))
engine = MergeTree
partition by database
order by (database, epoch)
settings non_replicated_deduplication_window = 10000
comment 'The epochs whose export is complete. Readers use the last one of a database; base_batch is the batch it was exported at.';

-- name: batches_from_deltas
create materialized view if not exists {target}.batches_from_deltas to {target}.batches as
select database, epoch, batch, batch_id, folded_at, count() as rows, max(landed_at) as landed_at
from {target}.deltas
group by database, epoch, batch, batch_id, folded_at;

-- name: hour_totals_from_deltas
create materialized view if not exists {target}.hour_totals_from_deltas to {target}.hour_totals as
select d.database as database, d.epoch as epoch, d.hour_at as hour_at, d.action_type as action_type, d.status as status,
    sum(d.n) as n, sumIf(d.n, d.duration_ms is not null) as timed, sum(d.n * ifNull(toInt64(d.duration_ms), 0)) as duration_total,
    sum(d.n * ifNull(toInt64(d.retry_count), 0)) as retry_total, sumIf(d.n, ifNull(d.retry_count, 0) > 0) as retried
from {target}.deltas as d
group by d.database, d.epoch, d.hour_at, d.action_type, d.status;

-- name: hour_durations_from_deltas
-- the value has a name of its own inside: a condition would otherwise read the value, and keep what is null
create materialized view if not exists {target}.hour_durations_from_deltas to {target}.hour_durations as
select database, epoch, hour_at, action_type, status, milliseconds as duration_ms, n
from (
    select database, epoch, hour_at, action_type, status, assumeNotNull(duration_ms) as milliseconds, sum(n) as n
    from {target}.deltas
    where duration_ms is not null
    group by database, epoch, hour_at, action_type, status, milliseconds);

-- name: trigger_totals_from_deltas
create materialized view if not exists {target}.trigger_totals_from_deltas to {target}.trigger_totals as
select database, epoch, name as trigger_id, n, succeeded, failed, retrying, timed, duration_total, tried, retry_total
from (
    select d.database as database, d.epoch as epoch, assumeNotNull(d.trigger_id) as name, sum(d.n) as n,
        sumIf(d.n, d.status = 'success') as succeeded, sumIf(d.n, d.status = 'failed') as failed,
        sumIf(d.n, d.status = 'retrying') as retrying, sumIf(d.n, d.duration_ms is not null) as timed,
        sum(d.n * ifNull(toInt64(d.duration_ms), 0)) as duration_total, sumIf(d.n, d.retry_count is not null) as tried,
        sum(d.n * ifNull(toInt64(d.retry_count), 0)) as retry_total
    from {target}.deltas as d
    where d.trigger_id is not null
    group by d.database, d.epoch, name);

-- name: trigger_durations_from_deltas
create materialized view if not exists {target}.trigger_durations_from_deltas to {target}.trigger_durations as
select database, epoch, name as trigger_id, milliseconds as duration_ms, n
from (
    select database, epoch, assumeNotNull(trigger_id) as name, assumeNotNull(duration_ms) as milliseconds, sum(n) as n
    from {target}.deltas
    where trigger_id is not null and duration_ms is not null
    group by database, epoch, name, milliseconds);

-- name: trigger_retries_from_deltas
create materialized view if not exists {target}.trigger_retries_from_deltas to {target}.trigger_retries as
select database, epoch, name as trigger_id, retries as retry_count, n
from (
    select database, epoch, assumeNotNull(trigger_id) as name, assumeNotNull(retry_count) as retries, sum(n) as n
    from {target}.deltas
    where trigger_id is not null and retry_count is not null
    group by database, epoch, name, retries);

-- name: trigger_hours_from_deltas
create materialized view if not exists {target}.trigger_hours_from_deltas to {target}.trigger_hours as
select d.database as database, d.epoch as epoch, d.hour_at as hour_at, d.trigger_id as trigger_id, d.action_type as action_type,
    d.status as status, 0 as frozen, cast(null, 'Nullable(String)') as organization_id, sum(d.n) as n,
    sumIf(d.n, d.duration_ms is not null) as timed, sum(d.n * ifNull(toInt64(d.duration_ms), 0)) as duration_total,
    sum(d.n * ifNull(toInt64(d.retry_count), 0)) as retry_total, sumIf(d.n, ifNull(d.retry_count, 0) > 0) as retried
from {target}.deltas as d
group by d.database, d.epoch, d.hour_at, d.trigger_id, d.action_type, d.status;

-- name: current_epochs
create view if not exists {target}.current_epochs as
select database, max(epoch) as epoch from {target}.epochs group by database;

-- name: triggers
-- Snapshots: a database's rows are replaced as a whole, from the table of the same name with `_incoming`.
create table if not exists {target}.triggers (
    database LowCardinality(String),
    trigger_id String,
    organization_id Nullable(String),
    name Nullable(String),
    enabled Nullable(Bool),
    created_at Nullable(DateTime64(6, 'UTC')),
    first_execution_at Nullable(DateTime64(6, 'UTC')),
    last_execution_at Nullable(DateTime64(6, 'UTC')),
    batch UInt64)
engine = MergeTree
partition by database
order by (database, trigger_id)
comment 'The triggers that exist or ran, as they were at a batch: a whole snapshot a database.';

-- name: organizations
create table if not exists {target}.organizations (
    database LowCardinality(String),
    organization_id String,
    name Nullable(String),
    slug Nullable(String),
    plan Nullable(String),
    batch UInt64)
engine = MergeTree
partition by database
order by (database, organization_id)
comment 'The organizations as they were at a batch: a whole snapshot a database.';

-- name: recent_failures
create table if not exists {target}.recent_failures (
    database LowCardinality(String),
    id String,
    job_id Nullable(String),
    trigger_id Nullable(String),
    event_id Nullable(String),
    action_type LowCardinality(String),
    error_message Nullable(String),
    retry_count Nullable(Int32),
    executed_at DateTime64(6, 'UTC'),
    duration_ms Nullable(Int32),
    response_data Nullable(String),
    batch UInt64)
engine = MergeTree
partition by database
order by (database, executed_at, id)
comment 'The view recent_failures as it was at a batch: a whole snapshot a database.';

-- name: action_type_distribution
create table if not exists {target}.action_type_distribution (
    database LowCardinality(String),
    action_type LowCardinality(String),
    total_executions Int64,
    success_count Int64,
    failure_count Int64,
    percentage Nullable(Decimal(12, 2)),
    avg_duration_ms Nullable(Decimal(12, 2)),
    total_retries Int64,
    last_execution_at Nullable(DateTime64(6, 'UTC')),
    batch UInt64)
engine = MergeTree
partition by database
order by (database, action_type)
comment 'The view action_type_distribution as it was at a batch: a whole snapshot a database.';

-- name: action_results
-- The action rows of closed months, for free questions, where [warehouse] rows is on: a month is replaced as a whole.
create table if not exists {target}.action_results (
    database LowCardinality(String),
    month UInt32,
    executed_at DateTime64(6, 'UTC'),
    trigger_id Nullable(String),
    action_type LowCardinality(String),
    status LowCardinality(String),
    duration_ms Nullable(Int32),
    retry_count Nullable(Int32))
engine = MergeTree
partition by (database, month)
order by (database, executed_at)
ttl toDateTime(executed_at) + interval {rows_days} day
comment 'The actions of closed months, without messages, answers and identities of jobs and events.';

-- name: action_results_months
create table if not exists {target}.action_results_months (
    database LowCardinality(String),
    epoch UInt32,
    month UInt32,
    batch SimpleAggregateFunction(max, UInt64),
    loaded_at SimpleAggregateFunction(max, DateTime('UTC')))
engine = AggregatingMergeTree
partition by (database, epoch)
order by (database, epoch, month)
comment 'The months whose action rows are there, and the batch at which they are what the cells are.';

-- name: incoming
create table if not exists {target}.{table}_incoming as {target}.{table};
