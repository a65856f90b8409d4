-- Questions that people named and kept, per organization: each is an address of the pages, never an answer. Who lists or
-- changes them sees those of the organizations to which the wall admits the transaction.

-- name: tables
create table if not exists analytics_refresh.api_questions (
    question_id uuid constraint api_questions_pkey primary key default gen_random_uuid(),
    organization_id text,
    name text not null constraint api_questions_named check (
        btrim(name) <> '' and char_length(name) <= 100 and name !~ '[[:cntrl:]]'),
    -- of our pages alone: there is no letter for another scheme or host
    address text not null constraint api_questions_address check (
        address ~ '^\?[-A-Za-z0-9%&=+._~]+$' and char_length(address) <= 2000),
    kept_at timestamptz not null default clock_timestamp(),
    kept_by text not null constraint api_questions_kept_by check (
        btrim(kept_by) <> '' and char_length(kept_by) <= 300),
    constraint api_questions_name unique nulls not distinct (organization_id, name));
comment on table analytics_refresh.api_questions is 'Questions that people named and kept, at most 100 per organization.';
comment on column analytics_refresh.api_questions.question_id is 'The question, as the API names it.';
comment on column analytics_refresh.api_questions.organization_id is 'Whose it is; null: of those who see all organizations.';
comment on column analytics_refresh.api_questions.name is 'What people call it.';
comment on column analytics_refresh.api_questions.address is 'What the pages show: the query of their address.';
comment on column analytics_refresh.api_questions.kept_at is 'When it was kept or replaced.';
comment on column analytics_refresh.api_questions.kept_by is 'Who did that: the id of a key, or user: and the user of a token.';
comment on index analytics_refresh.api_questions_pkey is 'One row per question.';
comment on index analytics_refresh.api_questions_name is 'A name stands for one question of an organization.';

-- name: functions
create or replace view analytics_api.saved_questions with (security_barrier = true) as
    select q.question_id, q.organization_id, q.name, q.address, q.kept_at
    from analytics_refresh.api_questions q
    where (select analytics_api.sees_all()) or q.organization_id = any ((select analytics_api.organizations())::text[]);
comment on view analytics_api.saved_questions is 'Questions that the admitted organizations kept.';

create or replace function analytics_api.keep_question(organization text, name text, address text, kept_by text)
returns table (question_id uuid, known boolean, room boolean)
language sql volatile security definer rows 1 set search_path = pg_catalog, pg_temp
begin atomic
    -- one after the other, so that the bound is exact
    select pg_advisory_xact_lock(2583, 7);
    with place as (
        select
            case when keep_question.organization is null then analytics_api.sees_all()
            else (analytics_api.sees_all() or keep_question.organization = any (analytics_api.organizations()))
                and exists (select from {app}.organizations o where o.id = keep_question.organization) end as known,
            (select count(*) < 100 from analytics_refresh.api_questions q
            where q.organization_id is not distinct from keep_question.organization) as room),
    kept as (
        insert into analytics_refresh.api_questions (organization_id, name, address, kept_by)
        select keep_question.organization, btrim(keep_question.name), keep_question.address, keep_question.kept_by
        from place p
        where p.known and p.room
        returning api_questions.question_id)
    select (select k.question_id from kept k), p.known, p.room from place p;
end;
comment on function analytics_api.keep_question(text, text, text, text) is
    'Keeps a question of an admitted organization, and returns its id; else whether the organization is known and has room.';
revoke execute on function analytics_api.keep_question(text, text, text, text) from public;

create or replace function analytics_api.replace_question(question_id uuid, name text, address text, kept_by text)
returns uuid
language sql volatile security definer set search_path = pg_catalog, pg_temp
begin atomic
    update analytics_refresh.api_questions q
    set name = btrim(replace_question.name), address = replace_question.address, kept_by = replace_question.kept_by,
        kept_at = clock_timestamp()
    where q.question_id = replace_question.question_id
        and (analytics_api.sees_all() or q.organization_id = any (analytics_api.organizations()))
    returning q.question_id;
end;
comment on function analytics_api.replace_question(uuid, text, text, text) is
    'Gives a question of an admitted organization another name and address; null where there is none of this id.';
revoke execute on function analytics_api.replace_question(uuid, text, text, text) from public;

create or replace function analytics_api.remove_question(question_id uuid) returns uuid
language sql volatile security definer set search_path = pg_catalog, pg_temp
begin atomic
    delete from analytics_refresh.api_questions q
    where q.question_id = remove_question.question_id
        and (analytics_api.sees_all() or q.organization_id = any (analytics_api.organizations()))
    returning q.question_id;
end;
comment on function analytics_api.remove_question(uuid) is
    'Removes a question of an admitted organization; null where there is none of this id.';
revoke execute on function analytics_api.remove_question(uuid) from public;

-- name: list
select s.question_id, s.organization_id, s.name, s.address, s.kept_at
from analytics_api.saved_questions s
order by s.name, s.organization_id, s.question_id
limit %(limit)s offset %(offset)s;

-- name: count
select count(*) from analytics_api.saved_questions s;

-- name: one
select s.question_id, s.organization_id, s.name, s.address, s.kept_at
from analytics_api.saved_questions s
where s.question_id = %(question_id)s;

-- name: keep
select k.question_id, k.known, k.room
from analytics_api.keep_question(%(organization)s, %(name)s, %(address)s, %(kept_by)s) k;

-- name: replace
select analytics_api.replace_question(%(question_id)s, %(name)s, %(address)s, %(kept_by)s);

-- name: remove
select analytics_api.remove_question(%(question_id)s);
