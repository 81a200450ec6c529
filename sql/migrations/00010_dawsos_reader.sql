-- What dashboards may read. Grafana runs whatever SQL its users write, so what its login can reach is
-- decided here and not by the panels: the columns that panels show, and nothing with a message's
-- text, an address, a secret or an answer in it.
--
-- The login is a member of the group role dawsos_reader and made by whoever deploys
-- (configs/grafana/README.md). Roles belong to the cluster: another database of it may have made
-- this one, or be making it now, and may still need it once this schema is gone.

-- +goose Up
SET LOCAL lock_timeout = '5s';

-- River's tables come after ours and its jobs' arguments are nobody's business: the function is bound
-- when it is called, and tells counts alone. Counting ends at 100,000 jobs of a state.
-- +goose StatementBegin
CREATE FUNCTION queue_depth() RETURNS TABLE (queue text, state text, jobs bigint)
LANGUAGE plpgsql STABLE SECURITY DEFINER
SET jit = off -- compiling would take longer than counting
AS $$
#variable_conflict use_column
BEGIN
    RETURN QUERY
    SELECT q.name, s.state, count(j.queue)
    FROM river_queue AS q
    CROSS JOIN (VALUES ('available'), ('running'), ('retryable'), ('scheduled')) AS s (state)
    LEFT JOIN (
        (SELECT queue, state FROM river_job WHERE state = 'available' LIMIT 100000)
        UNION ALL (SELECT queue, state FROM river_job WHERE state = 'running' LIMIT 100000)
        UNION ALL (SELECT queue, state FROM river_job WHERE state = 'retryable' LIMIT 100000)
        UNION ALL (SELECT queue, state FROM river_job WHERE state = 'scheduled' LIMIT 100000)
    ) AS j ON j.queue = q.name AND j.state::text = s.state
    GROUP BY q.name, s.state;
END $$;
-- +goose StatementEnd
REVOKE EXECUTE ON FUNCTION queue_depth() FROM PUBLIC;

-- It runs with its owner's rights, so that a caller's temporary tables must not get before ours.
-- +goose StatementBegin
DO $$ BEGIN
    EXECUTE format('ALTER FUNCTION queue_depth() SET search_path = %I, pg_temp', current_schema());
END $$;
-- +goose StatementEnd

-- All that dashboards need, in one place. Where the role has to be made by somebody else after this
-- migration, the schema's owner calls it then.
-- +goose StatementBegin
CREATE PROCEDURE grant_dawsos_reader() LANGUAGE plpgsql AS $$
BEGIN
    EXECUTE format('GRANT USAGE ON SCHEMA %I TO dawsos_reader', current_schema());
    GRANT SELECT (tenant_id, alert_id, target, attempts, accepted_at, delivered_at, trace_id)
        ON alert_deliveries TO dawsos_reader;
    GRANT SELECT (id, tenant_id, alert_id, target, endpoint, state, error_message, retry_count,
            accepted_at, created_at, last_retry_at)
        ON alert_dlq TO dawsos_reader;
    GRANT EXECUTE ON FUNCTION queue_depth() TO dawsos_reader;
END $$;
-- +goose StatementEnd
REVOKE EXECUTE ON PROCEDURE grant_dawsos_reader() FROM PUBLIC;

-- A schema without dashboards is better than none: where roles are not ours to make, the migration
-- says what is left to do.
-- +goose StatementBegin
DO $$ BEGIN
    IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'dawsos_reader') THEN
        BEGIN
            CREATE ROLE dawsos_reader NOLOGIN;
        EXCEPTION
            WHEN duplicate_object OR unique_violation THEN NULL; -- somebody made it meanwhile
            WHEN insufficient_privilege THEN
                RAISE WARNING 'the role dawsos_reader can not be made by %: dashboards can not read this database', current_user
                    USING HINT = 'Have it made (CREATE ROLE dawsos_reader NOLOGIN), then: CALL grant_dawsos_reader()';
                RETURN;
        END;
    END IF;
    CALL grant_dawsos_reader();
END $$;
-- +goose StatementEnd

-- +goose Down
-- +goose StatementBegin
DO $$ BEGIN
    IF EXISTS (SELECT FROM pg_roles WHERE rolname = 'dawsos_reader') THEN
        EXECUTE format('REVOKE ALL ON SCHEMA %I FROM dawsos_reader', current_schema());
        -- What is granted on a table takes the grants on its columns along.
        REVOKE ALL ON alert_deliveries, alert_dlq FROM dawsos_reader;
    END IF;
END $$;
-- +goose StatementEnd
DROP PROCEDURE grant_dawsos_reader();
DROP FUNCTION queue_depth();
