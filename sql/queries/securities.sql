-- SecuritiesOfSector returns a security and others of a sector, by default of its own, with the
-- attributes that they had at a revision: itself first, then the preferred ones, then by symbol.
-- name: SecuritiesOfSector :many
WITH listed AS (
    SELECT
        s.id, s.symbol, s.currency,
        coalesce(c.name, s.name)::text AS name,
        coalesce(c.asset_class, s.asset_class)::text AS asset_class,
        coalesce(c.sector, s.sector)::text AS sector,
        coalesce(c.role, s.role)::text AS role
    FROM securities AS s
    LEFT JOIN LATERAL (
        SELECT sc.name, sc.asset_class, sc.sector, sc.role
        FROM security_changes AS sc
        WHERE sc.security_id = s.id AND sc.revision <= @revision
        ORDER BY sc.revision DESC
        LIMIT 1
    ) AS c ON true
    WHERE s.tenant_id = @tenant_id AND s.revision <= @revision
),

own AS (SELECT listed.sector FROM listed WHERE listed.id = @id::uuid)

SELECT l.id, l.symbol, l.currency, l.name, l.asset_class, l.sector, l.role
FROM listed AS l
LEFT JOIN own ON true
WHERE l.id = @id::uuid OR (l.sector <> '' AND l.sector = coalesce(nullif(@sector::text, ''), own.sector))
ORDER BY l.id = @id::uuid DESC, l.symbol = ANY (@preferred::text[]) DESC, l.symbol
LIMIT @row_limit;
