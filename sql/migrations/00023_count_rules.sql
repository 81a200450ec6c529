-- How many rules a tenant has is what its limit is about, also when a person adds one who sees only his own.

-- +goose Up
-- It counts no further than it has to. Whoever calls it learns a number.
CREATE FUNCTION count_alert_rules(of_tenant text, at_most bigint) RETURNS bigint
LANGUAGE sql STABLE SECURITY DEFINER AS $$
    SELECT count(*) FROM (SELECT FROM alert_rules WHERE tenant_id = of_tenant LIMIT at_most) AS r
$$;
-- +goose StatementBegin
DO $$ BEGIN
    EXECUTE format('ALTER FUNCTION count_alert_rules(text, bigint) SET search_path = %I, pg_temp', current_schema());
END $$;
-- +goose StatementEnd

-- +goose Down
DROP FUNCTION count_alert_rules(text, bigint);
