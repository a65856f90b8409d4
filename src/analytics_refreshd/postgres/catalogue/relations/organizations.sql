-- Which of the organizations that a user names exist. A table that this role may not read is left out.

-- name: organizations
select o.id::text from {app}.organizations o where o.id::text = any (%(named)s::text[]);

-- name: triggers
select distinct t.organization_id::text from {app}.triggers t where t.organization_id::text = any (%(named)s::text[]);
