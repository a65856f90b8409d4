create table {app}.organizations (
    id text primary key, name text not null, slug text unique, owner_id text,
    plan text not null default 'free' check (plan in ('free', 'starter', 'pro', 'enterprise')),
    created_at timestamptz not null default now(), updated_at timestamptz not null default now());
create table {app}.users (
    id text primary key, username text, email text,
    created_at timestamptz not null default now(), updated_at timestamptz not null default now());
create table {app}.triggers (
    id text primary key, user_id text, organization_id text, name text, description text, chain_id integer,
    registry text, enabled boolean not null default true, is_stateful boolean not null default false,
    created_at timestamptz not null default now(), updated_at timestamptz not null default now());
create table {app}.action_results (
    id text primary key, job_id text not null,
    trigger_id text references {app}.triggers (id) on delete set null, event_id text,
    action_type text not null, status text not null,
    executed_at timestamptz default now(), duration_ms integer, error_message text, response_data jsonb,
    retry_count integer default 0);
create index on {app}.action_results (trigger_id);
create index on {app}.action_results (event_id);
create index on {app}.action_results (status);
create index on {app}.action_results (executed_at desc);
create index on {app}.action_results (action_type);
