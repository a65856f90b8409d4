-- name: database_exists
select exists (select from pg_catalog.pg_database where datname = 'demo')

-- name: create_database
create database demo

-- name: organizations
copy {app}.organizations (id, name, slug, owner_id, plan, created_at, updated_at) from stdin

-- name: users
copy {app}.users (id, username, email, created_at, updated_at) from stdin

-- name: triggers
copy {app}.triggers (id, user_id, organization_id, name, description, chain_id, registry, enabled, is_stateful,
                     created_at, updated_at) from stdin

-- name: actions
copy {app}.action_results (id, job_id, trigger_id, event_id, action_type, status, executed_at, duration_ms,
                           error_message, response_data, retry_count) from stdin

-- name: application_exists
select to_regclass('{app}.action_results') is not null

-- name: kept_actions
-- Only a made-up log has users: of a real one nothing but ids is known.
select (select count(*) from {app}.action_results), exists (select from {app}.users)

-- name: analyze
analyze {app}.organizations, {app}.users, {app}.triggers, {app}.action_results

-- name: insert_action
insert into {app}.action_results (id, job_id, trigger_id, event_id, action_type, status, executed_at, duration_ms,
                                  error_message, response_data, retry_count)
values (%(id)s, %(job_id)s, %(trigger_id)s, %(event_id)s, %(action_type)s, %(status)s, %(executed_at)s,
        %(duration_ms)s, %(error_message)s, %(response_data)s, %(retry_count)s)

-- name: settle_action
update {app}.action_results
set status = %(status)s, duration_ms = %(duration_ms)s,
    error_message = %(error_message)s, response_data = %(response_data)s, retry_count = %(retry_count)s
where id = %(id)s and status = 'retrying'

-- name: api_role
do $role$ begin
    if not exists (select from pg_catalog.pg_roles where rolname = 'analytics_api') then
        create role analytics_api login;
    end if;
end $role$;

-- name: api_allow
select analytics_api.allow('analytics_api');

-- name: chaos_role
-- Every right on our tables and the application's, and no superuser's: a right can be taken away.
create role {role} login;
grant pg_read_all_stats to {role};
grant usage on schema {app}, analytics_refresh to {role};
grant all on all tables in schema {app}, analytics_refresh to {role};
grant all on all functions in schema {app}, analytics_refresh to {role};

-- name: chaos_lock
refresh materialized view concurrently {app}.{view}

-- name: chaos_drop
drop materialized view {app}.{view}

-- name: chaos_revoke
revoke maintain on {app}.{view} from {role}

-- name: chaos_grant
grant maintain on {app}.{view} to {role}

-- name: chaos_wait
lock table {app}.action_results in access exclusive mode
