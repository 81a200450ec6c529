-- LockRevisions lets one transaction at a time make a revision of a tenant, until it ends.
-- name: LockRevisions :exec
SELECT pg_advisory_xact_lock(hashtextextended('dawsos revisions of ' || @tenant_id::text, 0));

-- name: NewestRevision :one
SELECT revision, content_hash FROM data_revisions
WHERE tenant_id = @tenant_id
ORDER BY revision DESC
LIMIT 1;

-- AddRevision makes a revision, which its rows refer to, before they are known; see SealRevision.
-- name: AddRevision :exec
INSERT INTO data_revisions (tenant_id, revision, source, row_count, content_hash, created_at)
VALUES (@tenant_id, @revision, @source, 0, '', @created_at);

-- name: SealRevision :exec
UPDATE data_revisions SET row_count = @row_count, content_hash = @content_hash
WHERE tenant_id = @tenant_id AND revision = @revision;

-- name: Listings :many
SELECT id, symbol, currency FROM securities WHERE tenant_id = @tenant_id;

-- name: SetTenantCalendar :exec
UPDATE tenants SET calendar = @calendar::text WHERE id = @tenant_id;

-- CalendarDates returns the dates from a day on of which the tenant's calendar has a close.
-- name: CalendarDates :many
SELECT DISTINCT p.date
FROM tenants AS t
JOIN securities AS s ON s.tenant_id = t.id AND s.symbol = t.calendar
JOIN prices AS p ON p.security_id = s.id
WHERE t.id = @tenant_id AND (@every::boolean OR p.date >= @first_date::date)
ORDER BY p.date;

-- StalePacks notes that a revision has rows that packs from a day on do not read. Like every statement that
-- changes more than one pack, it locks them in order of date, then revision: imports and the nightly jobs
-- change the same ones at the same time.
-- name: StalePacks :execrows
UPDATE pricing_packs AS k SET state = 'stale'
FROM (
    SELECT p.id FROM pricing_packs AS p
    WHERE p.tenant_id = @tenant_id AND p.revision < @revision AND p.state <> 'stale'
        AND (@every::boolean OR p.date >= @first_date::date)
    ORDER BY p.date, p.revision
    FOR UPDATE
) AS locked
WHERE k.id = locked.id;

-- name: AddPacks :execrows
INSERT INTO pricing_packs (id, tenant_id, date, revision, hash, state, created_at)
SELECT p.id, @tenant_id, p.date, @revision, p.hash, @state, @created_at
FROM (
    SELECT unnest(@ids::uuid[]) AS id, unnest(@dates::date[]) AS date, unnest(@hashes::text[]) AS hash
) AS p
ON CONFLICT (tenant_id, date, revision) DO NOTHING;
