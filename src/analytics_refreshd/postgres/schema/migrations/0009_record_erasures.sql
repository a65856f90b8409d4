-- Receipts of `erase`, and whom to erase again after a restore. Only added to, and left alone by pruning and --uninstall.
create table if not exists analytics_refresh.erasures (
    entry bigint generated always as identity primary key,
    erasure_id uuid not null,
    noted_at timestamptz not null default clock_timestamp(),
    step text not null check (step in ('begun', 'portion', 'ended')),
    scope text check (scope in ('user', 'organization', 'trigger')),
    mode text check (mode in ('redact', 'delete')),
    subject_hash text,
    key_id text,
    replay_of uuid,
    triggers integer,
    rows_unlinked bigint,
    rows_erased bigint not null default 0,
    frozen_executions bigint not null default 0,
    texts_erased bigint not null default 0,
    rows_left bigint,
    outcome text check (outcome in ('ok', 'stopped', 'failed', 'abandoned')),
    reason text,
    actor text not null default session_user);
comment on table analytics_refresh.erasures is 'Receipts of `erase`: what was erased, when and by whom, without personal data. Rows are only added.';
comment on sequence analytics_refresh.erasures_entry_seq is 'Numbers the entries.';
comment on column analytics_refresh.erasures.entry is 'Its number.';
comment on column analytics_refresh.erasures.erasure_id is 'The erasure, as its output names it.';
comment on column analytics_refresh.erasures.noted_at is 'When, by the server''s clock.';
comment on column analytics_refresh.erasures.step is 'begun; portion: rows erased in this transaction; ended.';
comment on column analytics_refresh.erasures.scope is 'By what the rows were found; in the first entry, as the next six columns.';
comment on column analytics_refresh.erasures.mode is 'redact: texts went; delete: rows went.';
comment on column analytics_refresh.erasures.subject_hash is 'Whose rows, hashed with the key: only who has the key can tell.';
comment on column analytics_refresh.erasures.key_id is 'Which key that was.';
comment on column analytics_refresh.erasures.replay_of is 'The erasure that this one did again; null otherwise.';
comment on column analytics_refresh.erasures.triggers is 'Triggers whose rows went.';
comment on column analytics_refresh.erasures.rows_unlinked is 'Rows of the whole log that no trigger links to a user: nobody can tell whose they are.';
comment on column analytics_refresh.erasures.rows_erased is 'Rows erased in this transaction.';
comment on column analytics_refresh.erasures.frozen_executions is 'Frozen executions of triggers that went; in the last entry, as the rest.';
comment on column analytics_refresh.erasures.texts_erased is 'Error texts of our own tables that were emptied.';
comment on column analytics_refresh.erasures.rows_left is 'Rows that were there still at its end; null while unknown.';
comment on column analytics_refresh.erasures.outcome is 'ok: all is gone; stopped; failed; abandoned: it was killed.';
comment on column analytics_refresh.erasures.reason is 'Why it stopped or failed, in a word.';
comment on column analytics_refresh.erasures.actor is 'The database role that did it.';
comment on index analytics_refresh.erasures_pkey is 'One row per entry.';

create or replace function analytics_refresh.refuse_change() returns trigger
language plpgsql set search_path = pg_catalog, pg_temp
as $refuse_change$
begin
    raise exception using errcode = '55000', message = 'rows are only added to analytics_refresh.' || tg_table_name;
end
$refuse_change$;
comment on function analytics_refresh.refuse_change() is 'Keeps a table from being changed otherwise than by adding rows.';
revoke execute on function analytics_refresh.refuse_change() from public;
create or replace trigger erasures_only_added before update or delete or truncate on analytics_refresh.erasures
    for each statement execute function analytics_refresh.refuse_change();
comment on trigger erasures_only_added on analytics_refresh.erasures is 'A receipt is not changed.';
