-- The second wall between tenants, where `[api] engine` is the warehouse: each request of the user
-- `analytics_api` (users.d/analytics.xml) sees what it is admitted to, and no more.
-- For one server; on a cluster tables.sql has it. Run it after `migrate --warehouse`, as a user that may
-- create row policies: clickhouse-client --multiquery < tenants.sql

create row policy or replace analytics_api on `analytics`.hour_totals
    using (replaceAll(toString(getSetting('SQL_analytics_database')), '''', '') = 'all' or database = unhex(replaceAll(toString(getSetting('SQL_analytics_database')), '''', '')))
    and (replaceAll(toString(getSetting('SQL_analytics_organizations')), '''', '') = 'all'
        or 0)
    to analytics_api;

create row policy or replace everybody_else on `analytics`.hour_totals using 1 to all except analytics_api;

create row policy or replace analytics_api on `analytics`.hour_durations
    using (replaceAll(toString(getSetting('SQL_analytics_database')), '''', '') = 'all' or database = unhex(replaceAll(toString(getSetting('SQL_analytics_database')), '''', '')))
    and (replaceAll(toString(getSetting('SQL_analytics_organizations')), '''', '') = 'all'
        or 0)
    to analytics_api;

create row policy or replace everybody_else on `analytics`.hour_durations using 1 to all except analytics_api;

create row policy or replace analytics_api on `analytics`.trigger_totals
    using (replaceAll(toString(getSetting('SQL_analytics_database')), '''', '') = 'all' or database = unhex(replaceAll(toString(getSetting('SQL_analytics_database')), '''', '')))
    and (replaceAll(toString(getSetting('SQL_analytics_organizations')), '''', '') = 'all'
        or (database, trigger_id) in (select r.database, r.trigger_id from `analytics`.triggers as r where has(arrayMap(x -> unhex(x), arrayFilter(x -> x != '', splitByChar(',', replaceAll(toString(getSetting('SQL_analytics_organizations')), '''', '')))), ifNull(r.organization_id, ''))))
    to analytics_api;

create row policy or replace everybody_else on `analytics`.trigger_totals using 1 to all except analytics_api;

create row policy or replace analytics_api on `analytics`.trigger_durations
    using (replaceAll(toString(getSetting('SQL_analytics_database')), '''', '') = 'all' or database = unhex(replaceAll(toString(getSetting('SQL_analytics_database')), '''', '')))
    and (replaceAll(toString(getSetting('SQL_analytics_organizations')), '''', '') = 'all'
        or (database, trigger_id) in (select r.database, r.trigger_id from `analytics`.triggers as r where has(arrayMap(x -> unhex(x), arrayFilter(x -> x != '', splitByChar(',', replaceAll(toString(getSetting('SQL_analytics_organizations')), '''', '')))), ifNull(r.organization_id, ''))))
    to analytics_api;

create row policy or replace everybody_else on `analytics`.trigger_durations using 1 to all except analytics_api;

create row policy or replace analytics_api on `analytics`.trigger_retries
    using (replaceAll(toString(getSetting('SQL_analytics_database')), '''', '') = 'all' or database = unhex(replaceAll(toString(getSetting('SQL_analytics_database')), '''', '')))
    and (replaceAll(toString(getSetting('SQL_analytics_organizations')), '''', '') = 'all'
        or (database, trigger_id) in (select r.database, r.trigger_id from `analytics`.triggers as r where has(arrayMap(x -> unhex(x), arrayFilter(x -> x != '', splitByChar(',', replaceAll(toString(getSetting('SQL_analytics_organizations')), '''', '')))), ifNull(r.organization_id, ''))))
    to analytics_api;

create row policy or replace everybody_else on `analytics`.trigger_retries using 1 to all except analytics_api;

create row policy or replace analytics_api on `analytics`.trigger_hours
    using (replaceAll(toString(getSetting('SQL_analytics_database')), '''', '') = 'all' or database = unhex(replaceAll(toString(getSetting('SQL_analytics_database')), '''', '')))
    and (replaceAll(toString(getSetting('SQL_analytics_organizations')), '''', '') = 'all'
        or if(frozen = 1, has(arrayMap(x -> unhex(x), arrayFilter(x -> x != '', splitByChar(',', replaceAll(toString(getSetting('SQL_analytics_organizations')), '''', '')))), ifNull(organization_id, '')), trigger_id is not null and (database, assumeNotNull(trigger_id)) in (select r.database, r.trigger_id from `analytics`.triggers as r where has(arrayMap(x -> unhex(x), arrayFilter(x -> x != '', splitByChar(',', replaceAll(toString(getSetting('SQL_analytics_organizations')), '''', '')))), ifNull(r.organization_id, '')))))
    to analytics_api;

create row policy or replace everybody_else on `analytics`.trigger_hours using 1 to all except analytics_api;

create row policy or replace analytics_api on `analytics`.triggers
    using (replaceAll(toString(getSetting('SQL_analytics_database')), '''', '') = 'all' or database = unhex(replaceAll(toString(getSetting('SQL_analytics_database')), '''', '')))
    and (replaceAll(toString(getSetting('SQL_analytics_organizations')), '''', '') = 'all'
        or has(arrayMap(x -> unhex(x), arrayFilter(x -> x != '', splitByChar(',', replaceAll(toString(getSetting('SQL_analytics_organizations')), '''', '')))), ifNull(organization_id, '')))
    to analytics_api;

create row policy or replace everybody_else on `analytics`.triggers using 1 to all except analytics_api;

create row policy or replace analytics_api on `analytics`.organizations
    using (replaceAll(toString(getSetting('SQL_analytics_database')), '''', '') = 'all' or database = unhex(replaceAll(toString(getSetting('SQL_analytics_database')), '''', '')))
    and (replaceAll(toString(getSetting('SQL_analytics_organizations')), '''', '') = 'all'
        or has(arrayMap(x -> unhex(x), arrayFilter(x -> x != '', splitByChar(',', replaceAll(toString(getSetting('SQL_analytics_organizations')), '''', '')))), ifNull(organization_id, '')))
    to analytics_api;

create row policy or replace everybody_else on `analytics`.organizations using 1 to all except analytics_api;

create row policy or replace analytics_api on `analytics`.recent_failures
    using (replaceAll(toString(getSetting('SQL_analytics_database')), '''', '') = 'all' or database = unhex(replaceAll(toString(getSetting('SQL_analytics_database')), '''', '')))
    and (replaceAll(toString(getSetting('SQL_analytics_organizations')), '''', '') = 'all'
        or trigger_id is not null and (database, assumeNotNull(trigger_id)) in (select r.database, r.trigger_id from `analytics`.triggers as r where has(arrayMap(x -> unhex(x), arrayFilter(x -> x != '', splitByChar(',', replaceAll(toString(getSetting('SQL_analytics_organizations')), '''', '')))), ifNull(r.organization_id, ''))))
    to analytics_api;

create row policy or replace everybody_else on `analytics`.recent_failures using 1 to all except analytics_api;

create row policy or replace analytics_api on `analytics`.action_type_distribution
    using (replaceAll(toString(getSetting('SQL_analytics_database')), '''', '') = 'all' or database = unhex(replaceAll(toString(getSetting('SQL_analytics_database')), '''', '')))
    and (replaceAll(toString(getSetting('SQL_analytics_organizations')), '''', '') = 'all'
        or 0)
    to analytics_api;

create row policy or replace everybody_else on `analytics`.action_type_distribution using 1 to all except analytics_api;

create row policy or replace analytics_api on `analytics`.batches
    using (replaceAll(toString(getSetting('SQL_analytics_database')), '''', '') = 'all' or database = unhex(replaceAll(toString(getSetting('SQL_analytics_database')), '''', '')))
    to analytics_api;

create row policy or replace everybody_else on `analytics`.batches using 1 to all except analytics_api;

create row policy or replace analytics_api on `analytics`.epochs
    using (replaceAll(toString(getSetting('SQL_analytics_database')), '''', '') = 'all' or database = unhex(replaceAll(toString(getSetting('SQL_analytics_database')), '''', '')))
    to analytics_api;

create row policy or replace everybody_else on `analytics`.epochs using 1 to all except analytics_api;
