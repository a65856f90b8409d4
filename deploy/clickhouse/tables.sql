-- The tables on the cluster `analytics`: of `migrate --warehouse`, where [warehouse] cluster names it.
-- For an administrator who creates them instead: once, on any server: clickhouse-client --multiquery < tables.sql
-- `analytics` holds a shard's tables, replicated: a daemon sends to one shard. `analytics_all` shows those of all.

create database if not exists analytics on cluster analytics;

create database if not exists analytics_all on cluster analytics;

create table if not exists analytics.hour_totals on cluster analytics (
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
engine = ReplicatedSummingMergeTree('/clickhouse/tables/{shard}/analytics/hour_totals', '{replica}', (n, timed, duration_total, retry_total, retried))
partition by (database, epoch)
order by (database, epoch, hour_at, action_type, status)
settings replicated_deduplication_window = 10000
comment 'Executions per hour, action type and status.';

create table if not exists analytics.hour_durations on cluster analytics (
    database LowCardinality(String),
    epoch UInt32,
    hour_at Int64,
    action_type LowCardinality(String),
    status LowCardinality(String),
    duration_ms Int32,
    n Int64)
engine = ReplicatedSummingMergeTree('/clickhouse/tables/{shard}/analytics/hour_durations', '{replica}', n)
partition by (database, epoch)
order by (database, epoch, hour_at, action_type, status, duration_ms)
settings replicated_deduplication_window = 10000
comment 'Exact histogram: how many executions of an hour, action type and status took so many milliseconds.';

create table if not exists analytics.trigger_totals on cluster analytics (
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
engine = ReplicatedSummingMergeTree('/clickhouse/tables/{shard}/analytics/trigger_totals', '{replica}', (n, succeeded, failed, retrying, timed, duration_total, tried, retry_total))
partition by (database, epoch)
order by (database, epoch, trigger_id)
settings replicated_deduplication_window = 10000
comment 'Executions per trigger, of all time.';

create table if not exists analytics.trigger_durations on cluster analytics (
    database LowCardinality(String),
    epoch UInt32,
    trigger_id String,
    duration_ms Int32,
    n Int64)
engine = ReplicatedSummingMergeTree('/clickhouse/tables/{shard}/analytics/trigger_durations', '{replica}', n)
partition by (database, epoch)
order by (database, epoch, trigger_id, duration_ms)
settings replicated_deduplication_window = 10000
comment 'Exact histogram: how many executions of a trigger took so many milliseconds.';

create table if not exists analytics.trigger_retries on cluster analytics (
    database LowCardinality(String),
    epoch UInt32,
    trigger_id String,
    retry_count Int32,
    n Int64)
engine = ReplicatedSummingMergeTree('/clickhouse/tables/{shard}/analytics/trigger_retries', '{replica}', n)
partition by (database, epoch)
order by (database, epoch, trigger_id, retry_count)
settings replicated_deduplication_window = 10000
comment 'How many executions of a trigger had so many retries.';

create table if not exists analytics.trigger_hours on cluster analytics (
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
engine = ReplicatedSummingMergeTree('/clickhouse/tables/{shard}/analytics/trigger_hours', '{replica}', (n, timed, duration_total, retry_total, retried))
partition by (database, epoch)
order by (database, epoch, hour_at, trigger_id, action_type, status, frozen, organization_id)
settings allow_nullable_key = 1, replicated_deduplication_window = 10000
comment 'Executions per trigger, hour, action type and status. frozen = 1: a whole day, at its noon, with its organization of then.';

create table if not exists analytics.deltas on cluster analytics (
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
engine = ReplicatedMergeTree('/clickhouse/tables/{shard}/analytics/deltas', '{replica}')
partition by (database, epoch)
order by (database, epoch, batch)
ttl landed_at + interval 30 day
settings replicated_deduplication_window = 10000
comment 'Batches of changes as they came: n executions more, or less, of these values.';

create table if not exists analytics.batches on cluster analytics (
    database LowCardinality(String),
    epoch UInt32,
    batch UInt64,
    batch_id UUID,
    folded_at DateTime64(6, 'UTC'),
    rows UInt64,
    landed_at SimpleAggregateFunction(max, DateTime('UTC')))
engine = ReplicatedSummingMergeTree('/clickhouse/tables/{shard}/analytics/batches', '{replica}', rows)
partition by (database, epoch)
order by (database, epoch, batch, batch_id, folded_at)
settings replicated_deduplication_window = 10000
comment 'The batches that landed, each with its number, its identity, and when PostgreSQL folded it.';

create table if not exists analytics.epochs on cluster analytics (
    database LowCardinality(String),
    epoch UInt32,
    epoch_id UUID,
    base_batch UInt64,
    folded_at DateTime64(6, 'UTC'),
    completed_at DateTime64(3, 'UTC') default now64(3))
engine = ReplicatedMergeTree('/clickhouse/tables/{shard}/analytics/epochs', '{replica}')
partition by database
order by (database, epoch)
settings replicated_deduplication_window = 10000
comment 'The epochs whose export is complete. Readers use the last one of a database; base_batch is the batch it was exported at.';

create materialized view if not exists analytics.batches_from_deltas on cluster analytics to analytics.batches as
select database, epoch, batch, batch_id, folded_at, count() as rows, max(landed_at) as landed_at
from analytics.deltas
group by database, epoch, batch, batch_id, folded_at;

create materialized view if not exists analytics.hour_totals_from_deltas on cluster analytics to analytics.hour_totals as
select d.database as database, d.epoch as epoch, d.hour_at as hour_at, d.action_type as action_type, d.status as status,
    sum(d.n) as n, sumIf(d.n, d.duration_ms is not null) as timed, sum(d.n * ifNull(toInt64(d.duration_ms), 0)) as duration_total,
    sum(d.n * ifNull(toInt64(d.retry_count), 0)) as retry_total, sumIf(d.n, ifNull(d.retry_count, 0) > 0) as retried
from analytics.deltas as d
group by d.database, d.epoch, d.hour_at, d.action_type, d.status;

create materialized view if not exists analytics.hour_durations_from_deltas on cluster analytics to analytics.hour_durations as
select database, epoch, hour_at, action_type, status, milliseconds as duration_ms, n
from (
    select database, epoch, hour_at, action_type, status, assumeNotNull(duration_ms) as milliseconds, sum(n) as n
    from analytics.deltas
    where duration_ms is not null
    group by database, epoch, hour_at, action_type, status, milliseconds);

create materialized view if not exists analytics.trigger_totals_from_deltas on cluster analytics to analytics.trigger_totals as
select database, epoch, name as trigger_id, n, succeeded, failed, retrying, timed, duration_total, tried, retry_total
from (
    select d.database as database, d.epoch as epoch, assumeNotNull(d.trigger_id) as name, sum(d.n) as n,
        sumIf(d.n, d.status = 'success') as succeeded, sumIf(d.n, d.status = 'failed') as failed,
        sumIf(d.n, d.status = 'retrying') as retrying, sumIf(d.n, d.duration_ms is not null) as timed,
        sum(d.n * ifNull(toInt64(d.duration_ms), 0)) as duration_total, sumIf(d.n, d.retry_count is not null) as tried,
        sum(d.n * ifNull(toInt64(d.retry_count), 0)) as retry_total
    from analytics.deltas as d
    where d.trigger_id is not null
    group by d.database, d.epoch, name);

create materialized view if not exists analytics.trigger_durations_from_deltas on cluster analytics to analytics.trigger_durations as
select database, epoch, name as trigger_id, milliseconds as duration_ms, n
from (
    select database, epoch, assumeNotNull(trigger_id) as name, assumeNotNull(duration_ms) as milliseconds, sum(n) as n
    from analytics.deltas
    where trigger_id is not null and duration_ms is not null
    group by database, epoch, name, milliseconds);

create materialized view if not exists analytics.trigger_retries_from_deltas on cluster analytics to analytics.trigger_retries as
select database, epoch, name as trigger_id, retries as retry_count, n
from (
    select database, epoch, assumeNotNull(trigger_id) as name, assumeNotNull(retry_count) as retries, sum(n) as n
    from analytics.deltas
    where trigger_id is not null and retry_count is not null
    group by database, epoch, name, retries);

create materialized view if not exists analytics.trigger_hours_from_deltas on cluster analytics to analytics.trigger_hours as
select d.database as database, d.epoch as epoch, d.hour_at as hour_at, d.trigger_id as trigger_id, d.action_type as action_type,
    d.status as status, 0 as frozen, cast(null, 'Nullable(String)') as organization_id, sum(d.n) as n,
    sumIf(d.n, d.duration_ms is not null) as timed, sum(d.n * ifNull(toInt64(d.duration_ms), 0)) as duration_total,
    sum(d.n * ifNull(toInt64(d.retry_count), 0)) as retry_total, sumIf(d.n, ifNull(d.retry_count, 0) > 0) as retried
from analytics.deltas as d
group by d.database, d.epoch, d.hour_at, d.trigger_id, d.action_type, d.status;

create view if not exists analytics.current_epochs on cluster analytics as
select database, max(epoch) as epoch from analytics.epochs group by database;

create table if not exists analytics.triggers on cluster analytics (
    database LowCardinality(String),
    trigger_id String,
    organization_id Nullable(String),
    name Nullable(String),
    enabled Nullable(Bool),
    created_at Nullable(DateTime64(6, 'UTC')),
    first_execution_at Nullable(DateTime64(6, 'UTC')),
    last_execution_at Nullable(DateTime64(6, 'UTC')),
    batch UInt64)
engine = ReplicatedMergeTree('/clickhouse/tables/{shard}/analytics/triggers', '{replica}')
partition by database
order by (database, trigger_id)
comment 'The triggers that exist or ran, as they were at a batch: a whole snapshot a database.';

create table if not exists analytics.organizations on cluster analytics (
    database LowCardinality(String),
    organization_id String,
    name Nullable(String),
    slug Nullable(String),
    plan Nullable(String),
    batch UInt64)
engine = ReplicatedMergeTree('/clickhouse/tables/{shard}/analytics/organizations', '{replica}')
partition by database
order by (database, organization_id)
comment 'The organizations as they were at a batch: a whole snapshot a database.';

create table if not exists analytics.recent_failures on cluster analytics (
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
engine = ReplicatedMergeTree('/clickhouse/tables/{shard}/analytics/recent_failures', '{replica}')
partition by database
order by (database, executed_at, id)
comment 'The view recent_failures as it was at a batch: a whole snapshot a database.';

create table if not exists analytics.action_type_distribution on cluster analytics (
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
engine = ReplicatedMergeTree('/clickhouse/tables/{shard}/analytics/action_type_distribution', '{replica}')
partition by database
order by (database, action_type)
comment 'The view action_type_distribution as it was at a batch: a whole snapshot a database.';

create table if not exists analytics.action_results on cluster analytics (
    database LowCardinality(String),
    month UInt32,
    executed_at DateTime64(6, 'UTC'),
    trigger_id Nullable(String),
    action_type LowCardinality(String),
    status LowCardinality(String),
    duration_ms Nullable(Int32),
    retry_count Nullable(Int32))
engine = ReplicatedMergeTree('/clickhouse/tables/{shard}/analytics/action_results', '{replica}')
partition by (database, month)
order by (database, executed_at)
ttl toDateTime(executed_at) + interval 400 day
comment 'The actions of closed months, without messages, answers and identities of jobs and events.';

create table if not exists analytics.action_results_months on cluster analytics (
    database LowCardinality(String),
    epoch UInt32,
    month UInt32,
    batch SimpleAggregateFunction(max, UInt64),
    loaded_at SimpleAggregateFunction(max, DateTime('UTC')))
engine = ReplicatedAggregatingMergeTree('/clickhouse/tables/{shard}/analytics/action_results_months', '{replica}')
partition by (database, epoch)
order by (database, epoch, month)
comment 'The months whose action rows are there, and the batch at which they are what the cells are.';

create table if not exists analytics.triggers_incoming on cluster analytics (
    database LowCardinality(String),
    trigger_id String,
    organization_id Nullable(String),
    name Nullable(String),
    enabled Nullable(Bool),
    created_at Nullable(DateTime64(6, 'UTC')),
    first_execution_at Nullable(DateTime64(6, 'UTC')),
    last_execution_at Nullable(DateTime64(6, 'UTC')),
    batch UInt64)
engine = ReplicatedMergeTree('/clickhouse/tables/{shard}/analytics/triggers_incoming', '{replica}')
partition by database
order by (database, trigger_id)
comment 'The triggers that exist or ran, as they were at a batch: a whole snapshot a database.';

create table if not exists analytics.organizations_incoming on cluster analytics (
    database LowCardinality(String),
    organization_id String,
    name Nullable(String),
    slug Nullable(String),
    plan Nullable(String),
    batch UInt64)
engine = ReplicatedMergeTree('/clickhouse/tables/{shard}/analytics/organizations_incoming', '{replica}')
partition by database
order by (database, organization_id)
comment 'The organizations as they were at a batch: a whole snapshot a database.';

create table if not exists analytics.recent_failures_incoming on cluster analytics (
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
engine = ReplicatedMergeTree('/clickhouse/tables/{shard}/analytics/recent_failures_incoming', '{replica}')
partition by database
order by (database, executed_at, id)
comment 'The view recent_failures as it was at a batch: a whole snapshot a database.';

create table if not exists analytics.action_type_distribution_incoming on cluster analytics (
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
engine = ReplicatedMergeTree('/clickhouse/tables/{shard}/analytics/action_type_distribution_incoming', '{replica}')
partition by database
order by (database, action_type)
comment 'The view action_type_distribution as it was at a batch: a whole snapshot a database.';

create table if not exists analytics.action_results_incoming on cluster analytics (
    database LowCardinality(String),
    month UInt32,
    executed_at DateTime64(6, 'UTC'),
    trigger_id Nullable(String),
    action_type LowCardinality(String),
    status LowCardinality(String),
    duration_ms Nullable(Int32),
    retry_count Nullable(Int32))
engine = ReplicatedMergeTree('/clickhouse/tables/{shard}/analytics/action_results_incoming', '{replica}')
partition by (database, month)
order by (database, executed_at)
ttl toDateTime(executed_at) + interval 400 day
comment 'The actions of closed months, without messages, answers and identities of jobs and events.';

create table if not exists analytics_all.hour_totals on cluster analytics as analytics.hour_totals
engine = Distributed(analytics, analytics, hour_totals);

create table if not exists analytics_all.hour_durations on cluster analytics as analytics.hour_durations
engine = Distributed(analytics, analytics, hour_durations);

create table if not exists analytics_all.trigger_totals on cluster analytics as analytics.trigger_totals
engine = Distributed(analytics, analytics, trigger_totals);

create table if not exists analytics_all.trigger_durations on cluster analytics as analytics.trigger_durations
engine = Distributed(analytics, analytics, trigger_durations);

create table if not exists analytics_all.trigger_retries on cluster analytics as analytics.trigger_retries
engine = Distributed(analytics, analytics, trigger_retries);

create table if not exists analytics_all.trigger_hours on cluster analytics as analytics.trigger_hours
engine = Distributed(analytics, analytics, trigger_hours);

create table if not exists analytics_all.triggers on cluster analytics as analytics.triggers
engine = Distributed(analytics, analytics, triggers);

create table if not exists analytics_all.organizations on cluster analytics as analytics.organizations
engine = Distributed(analytics, analytics, organizations);

create table if not exists analytics_all.recent_failures on cluster analytics as analytics.recent_failures
engine = Distributed(analytics, analytics, recent_failures);

create table if not exists analytics_all.action_type_distribution on cluster analytics as analytics.action_type_distribution
engine = Distributed(analytics, analytics, action_type_distribution);

create table if not exists analytics_all.action_results on cluster analytics as analytics.action_results
engine = Distributed(analytics, analytics, action_results);

create table if not exists analytics_all.action_results_months on cluster analytics as analytics.action_results_months
engine = Distributed(analytics, analytics, action_results_months);

create table if not exists analytics_all.deltas on cluster analytics as analytics.deltas
engine = Distributed(analytics, analytics, deltas);

create table if not exists analytics_all.batches on cluster analytics as analytics.batches
engine = Distributed(analytics, analytics, batches);

create table if not exists analytics_all.epochs on cluster analytics as analytics.epochs
engine = Distributed(analytics, analytics, epochs);

create view if not exists analytics_all.current_epochs on cluster analytics as
select database, max(epoch) as epoch from analytics_all.epochs group by database;

-- The second wall between tenants, where `[api] engine` is the warehouse: each request of the user
-- `analytics_api` (users.d/analytics.xml) sees what it is admitted to, and no more.

create row policy or replace analytics_api on cluster analytics on `analytics`.hour_totals
    using (replaceAll(toString(getSetting('SQL_analytics_database')), '''', '') = 'all' or database = unhex(replaceAll(toString(getSetting('SQL_analytics_database')), '''', '')))
    and (replaceAll(toString(getSetting('SQL_analytics_organizations')), '''', '') = 'all'
        or 0)
    to analytics_api;

create row policy or replace everybody_else on cluster analytics on `analytics`.hour_totals using 1 to all except analytics_api;

create row policy or replace analytics_api on cluster analytics on `analytics`.hour_durations
    using (replaceAll(toString(getSetting('SQL_analytics_database')), '''', '') = 'all' or database = unhex(replaceAll(toString(getSetting('SQL_analytics_database')), '''', '')))
    and (replaceAll(toString(getSetting('SQL_analytics_organizations')), '''', '') = 'all'
        or 0)
    to analytics_api;

create row policy or replace everybody_else on cluster analytics on `analytics`.hour_durations using 1 to all except analytics_api;

create row policy or replace analytics_api on cluster analytics on `analytics`.trigger_totals
    using (replaceAll(toString(getSetting('SQL_analytics_database')), '''', '') = 'all' or database = unhex(replaceAll(toString(getSetting('SQL_analytics_database')), '''', '')))
    and (replaceAll(toString(getSetting('SQL_analytics_organizations')), '''', '') = 'all'
        or (database, trigger_id) in (select r.database, r.trigger_id from `analytics`.triggers as r where has(arrayMap(x -> unhex(x), arrayFilter(x -> x != '', splitByChar(',', replaceAll(toString(getSetting('SQL_analytics_organizations')), '''', '')))), ifNull(r.organization_id, ''))))
    to analytics_api;

create row policy or replace everybody_else on cluster analytics on `analytics`.trigger_totals using 1 to all except analytics_api;

create row policy or replace analytics_api on cluster analytics on `analytics`.trigger_durations
    using (replaceAll(toString(getSetting('SQL_analytics_database')), '''', '') = 'all' or database = unhex(replaceAll(toString(getSetting('SQL_analytics_database')), '''', '')))
    and (replaceAll(toString(getSetting('SQL_analytics_organizations')), '''', '') = 'all'
        or (database, trigger_id) in (select r.database, r.trigger_id from `analytics`.triggers as r where has(arrayMap(x -> unhex(x), arrayFilter(x -> x != '', splitByChar(',', replaceAll(toString(getSetting('SQL_analytics_organizations')), '''', '')))), ifNull(r.organization_id, ''))))
    to analytics_api;

create row policy or replace everybody_else on cluster analytics on `analytics`.trigger_durations using 1 to all except analytics_api;

create row policy or replace analytics_api on cluster analytics on `analytics`.trigger_retries
    using (replaceAll(toString(getSetting('SQL_analytics_database')), '''', '') = 'all' or database = unhex(replaceAll(toString(getSetting('SQL_analytics_database')), '''', '')))
    and (replaceAll(toString(getSetting('SQL_analytics_organizations')), '''', '') = 'all'
        or (database, trigger_id) in (select r.database, r.trigger_id from `analytics`.triggers as r where has(arrayMap(x -> unhex(x), arrayFilter(x -> x != '', splitByChar(',', replaceAll(toString(getSetting('SQL_analytics_organizations')), '''', '')))), ifNull(r.organization_id, ''))))
    to analytics_api;

create row policy or replace everybody_else on cluster analytics on `analytics`.trigger_retries using 1 to all except analytics_api;

create row policy or replace analytics_api on cluster analytics on `analytics`.trigger_hours
    using (replaceAll(toString(getSetting('SQL_analytics_database')), '''', '') = 'all' or database = unhex(replaceAll(toString(getSetting('SQL_analytics_database')), '''', '')))
    and (replaceAll(toString(getSetting('SQL_analytics_organizations')), '''', '') = 'all'
        or if(frozen = 1, has(arrayMap(x -> unhex(x), arrayFilter(x -> x != '', splitByChar(',', replaceAll(toString(getSetting('SQL_analytics_organizations')), '''', '')))), ifNull(organization_id, '')), trigger_id is not null and (database, assumeNotNull(trigger_id)) in (select r.database, r.trigger_id from `analytics`.triggers as r where has(arrayMap(x -> unhex(x), arrayFilter(x -> x != '', splitByChar(',', replaceAll(toString(getSetting('SQL_analytics_organizations')), '''', '')))), ifNull(r.organization_id, '')))))
    to analytics_api;

create row policy or replace everybody_else on cluster analytics on `analytics`.trigger_hours using 1 to all except analytics_api;

create row policy or replace analytics_api on cluster analytics on `analytics`.triggers
    using (replaceAll(toString(getSetting('SQL_analytics_database')), '''', '') = 'all' or database = unhex(replaceAll(toString(getSetting('SQL_analytics_database')), '''', '')))
    and (replaceAll(toString(getSetting('SQL_analytics_organizations')), '''', '') = 'all'
        or has(arrayMap(x -> unhex(x), arrayFilter(x -> x != '', splitByChar(',', replaceAll(toString(getSetting('SQL_analytics_organizations')), '''', '')))), ifNull(organization_id, '')))
    to analytics_api;

create row policy or replace everybody_else on cluster analytics on `analytics`.triggers using 1 to all except analytics_api;

create row policy or replace analytics_api on cluster analytics on `analytics`.organizations
    using (replaceAll(toString(getSetting('SQL_analytics_database')), '''', '') = 'all' or database = unhex(replaceAll(toString(getSetting('SQL_analytics_database')), '''', '')))
    and (replaceAll(toString(getSetting('SQL_analytics_organizations')), '''', '') = 'all'
        or has(arrayMap(x -> unhex(x), arrayFilter(x -> x != '', splitByChar(',', replaceAll(toString(getSetting('SQL_analytics_organizations')), '''', '')))), ifNull(organization_id, '')))
    to analytics_api;

create row policy or replace everybody_else on cluster analytics on `analytics`.organizations using 1 to all except analytics_api;

create row policy or replace analytics_api on cluster analytics on `analytics`.recent_failures
    using (replaceAll(toString(getSetting('SQL_analytics_database')), '''', '') = 'all' or database = unhex(replaceAll(toString(getSetting('SQL_analytics_database')), '''', '')))
    and (replaceAll(toString(getSetting('SQL_analytics_organizations')), '''', '') = 'all'
        or trigger_id is not null and (database, assumeNotNull(trigger_id)) in (select r.database, r.trigger_id from `analytics`.triggers as r where has(arrayMap(x -> unhex(x), arrayFilter(x -> x != '', splitByChar(',', replaceAll(toString(getSetting('SQL_analytics_organizations')), '''', '')))), ifNull(r.organization_id, ''))))
    to analytics_api;

create row policy or replace everybody_else on cluster analytics on `analytics`.recent_failures using 1 to all except analytics_api;

create row policy or replace analytics_api on cluster analytics on `analytics`.action_type_distribution
    using (replaceAll(toString(getSetting('SQL_analytics_database')), '''', '') = 'all' or database = unhex(replaceAll(toString(getSetting('SQL_analytics_database')), '''', '')))
    and (replaceAll(toString(getSetting('SQL_analytics_organizations')), '''', '') = 'all'
        or 0)
    to analytics_api;

create row policy or replace everybody_else on cluster analytics on `analytics`.action_type_distribution using 1 to all except analytics_api;

create row policy or replace analytics_api on cluster analytics on `analytics`.batches
    using (replaceAll(toString(getSetting('SQL_analytics_database')), '''', '') = 'all' or database = unhex(replaceAll(toString(getSetting('SQL_analytics_database')), '''', '')))
    to analytics_api;

create row policy or replace everybody_else on cluster analytics on `analytics`.batches using 1 to all except analytics_api;

create row policy or replace analytics_api on cluster analytics on `analytics`.epochs
    using (replaceAll(toString(getSetting('SQL_analytics_database')), '''', '') = 'all' or database = unhex(replaceAll(toString(getSetting('SQL_analytics_database')), '''', '')))
    to analytics_api;

create row policy or replace everybody_else on cluster analytics on `analytics`.epochs using 1 to all except analytics_api;
