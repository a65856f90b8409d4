-- Questions of the pages that somebody kept, or that are about somebody, for `erase`.

-- name: present
-- the API may never have been set up
select to_regclass('analytics_refresh.api_questions') is not null;

-- name: count
select count(*) from analytics_refresh.api_questions q where {theirs};

-- name: delete
delete from analytics_refresh.api_questions q where {theirs};

-- name: theirs
-- a replay leaves those alone that are younger than the erasure
(q.organization_id = %(organization)s or q.kept_by = %(kept_by)s
    or exists (
        select from unnest(%(named)s::text[]) n (part) where position(n.part || '&' in substr(q.address, 2) || '&') > 0))
and (%(until)s::timestamptz is null or q.kept_at <= %(until)s::timestamptz)

-- name: all
select q.organization_id, q.kept_by, q.address from analytics_refresh.api_questions q;
