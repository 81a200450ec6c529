-- MacroCatalog lists the series that a cut holds values of. What is known of a series besides its values
-- never changes, so that it needs no revision of its own.
-- name: MacroCatalog :many
SELECT m.series, m.unit, m.frequency
FROM macro_series AS m
WHERE m.tenant_id = @tenant_id AND EXISTS (
    SELECT 1
    FROM macro_values AS v
    WHERE v.tenant_id = m.tenant_id AND v.series = m.series AND v.date <= @asof AND v.revision <= @revision
)
ORDER BY m.series COLLATE "C";
