-- Whose rows a process may see. Every query names its tenant already; row level security makes one that
-- forgets it see nothing of others.
--
-- The processes connect with logins that are members of dawsos_api and dawsos_worker, and work in these
-- roles (docs/tenants.md). The API sets dawsos.tenant, and dawsos.user for a caller who may see only his
-- own, before each use of a connection: a connection without them sees no rows. The worker acts for all
-- tenants. The owner of the tables migrates and is not bound by policies.
--
-- Roles belong to the cluster: another database of it may have made them, and may still need them once this
-- schema is gone.

-- +goose Up
SET LOCAL lock_timeout = '5s';

-- Statistics after an import are for a table's owner to gather; the procedure lends that right.
-- +goose StatementBegin
CREATE PROCEDURE analyze_table(name text) LANGUAGE plpgsql SECURITY DEFINER AS $$
BEGIN
    EXECUTE format('ANALYZE %I', name);
END $$;
-- +goose StatementEnd
REVOKE EXECUTE ON PROCEDURE analyze_table(text) FROM PUBLIC;

-- A session ends for whoever has its cookie, known or not.
CREATE FUNCTION end_session(session_hash bytea) RETURNS void
LANGUAGE sql VOLATILE SECURITY DEFINER AS $$ DELETE FROM sessions WHERE hash = session_hash $$;
REVOKE EXECUTE ON FUNCTION end_session(bytea) FROM PUBLIC;

-- Whether anybody could come in with a key.
CREATE FUNCTION count_active_api_keys(at timestamptz) RETURNS bigint
LANGUAGE sql STABLE SECURITY DEFINER AS $$
    SELECT count(*) FROM api_keys WHERE revoked_at IS NULL AND (expires_at IS NULL OR expires_at > at)
$$;
REVOKE EXECUTE ON FUNCTION count_active_api_keys(timestamptz) FROM PUBLIC;

-- A process that starts looks for what earlier ones of its host have left, whosever endpoints those were.
CREATE FUNCTION breakers_on(of_role text, of_host text) RETURNS SETOF breaker_states
LANGUAGE sql STABLE SECURITY DEFINER AS $$
    SELECT * FROM breaker_states WHERE role = of_role AND host = of_host
$$;
REVOKE EXECUTE ON FUNCTION breakers_on(text, text) FROM PUBLIC;

-- All that the roles need, in one place and safe to repeat: each run of the migrations ends with it, so that
-- River's tables and new ones of ours are covered, and where a role has to be made by somebody else after
-- the migration, the schema's owner calls it then. A role that is missing is passed over.
--
-- A table is locked for its policies alone, and no other one with it: older processes work meanwhile, and a
-- transaction of theirs that holds one table and waits for another would wait for this one, as this one for it.
-- So it can't be called in a transaction as long as there is something to do.
-- +goose StatementBegin
CREATE PROCEDURE grant_dawsos_roles() LANGUAGE plpgsql AS $$
DECLARE
    api    constant boolean := EXISTS (SELECT FROM pg_roles WHERE rolname = 'dawsos_api');
    worker constant boolean := EXISTS (SELECT FROM pg_roles WHERE rolname = 'dawsos_worker');
    reader constant boolean := EXISTS (SELECT FROM pg_roles WHERE rolname = 'dawsos_reader');
    process text;
    t record;
    own text;
BEGIN
    FOR t IN
        SELECT c.oid::regclass AS name, c.relname, c.relrowsecurity, tenant.attname AS tenant, tenant.attnotnull AS of_one,
            person.attname AS person, person.attnotnull AS of_person,
            array(SELECT p.polname::text FROM pg_policy AS p WHERE p.polrelid = c.oid) AS policies
        FROM pg_class AS c
        JOIN pg_attribute AS tenant ON tenant.attrelid = c.oid AND NOT tenant.attisdropped
            AND tenant.attname = CASE c.relname WHEN 'tenants' THEN 'id' ELSE 'tenant_id' END
        LEFT JOIN pg_attribute AS person ON person.attrelid = c.oid AND NOT person.attisdropped AND person.attname = 'user_id'
        WHERE c.relnamespace = current_schema()::regnamespace AND c.relkind IN ('r', 'p')
            AND NOT starts_with(c.relname, 'river_') AND pg_has_role(c.relowner, 'USAGE')
        ORDER BY c.relname
    LOOP
        CONTINUE WHEN t.relrowsecurity AND (NOT api OR 'api' = ANY (t.policies)) AND (NOT worker OR 'worker' = ANY (t.policies))
            AND (NOT reader OR t.relname NOT IN ('alert_deliveries', 'alert_dlq') OR 'reader' = ANY (t.policies));
        PERFORM set_config('lock_timeout', '5s', true);
        IF NOT t.relrowsecurity THEN
            EXECUTE format('ALTER TABLE %s ENABLE ROW LEVEL SECURITY', t.name);
        END IF;
        IF api AND 'api' <> ALL (t.policies) THEN
            own := format('%I = current_setting(''dawsos.tenant'', true)', t.tenant);
            IF NOT t.of_one THEN -- what is nobody's alone
                own := format('(%I IS NULL OR %s)', t.tenant, own);
            END IF;
            -- Whose it is to be is looked up once a statement. As a plain comparison the planner would take it for
            -- one that few rows pass, and would sort them rather than go along an index.
            IF t.person IS NOT NULL THEN
                own := own || format(' AND (CASE coalesce((SELECT nullif(current_setting(''dawsos.user'', true), '''')), %I)'
                    ' WHEN %1$I THEN true ELSE false END', t.person)
                    || CASE WHEN t.of_person THEN ')' ELSE format(' OR %I IS NULL)', t.person) END;
            END IF;
            EXECUTE format('CREATE POLICY api ON %s TO dawsos_api USING (%s)', t.name, own);
        END IF;
        IF worker AND 'worker' <> ALL (t.policies) THEN
            EXECUTE format('CREATE POLICY worker ON %s TO dawsos_worker USING (true)', t.name);
        END IF;
        IF reader AND t.relname IN ('alert_deliveries', 'alert_dlq') AND 'reader' <> ALL (t.policies) THEN
            EXECUTE format('CREATE POLICY reader ON %s FOR SELECT TO dawsos_reader USING (true)', t.name);
        END IF;
        COMMIT;
    END LOOP;

    -- Rights come last: a role that has them meets the policies.
    FOREACH process IN ARRAY array_remove(ARRAY[
        CASE WHEN api THEN 'dawsos_api' END, CASE WHEN worker THEN 'dawsos_worker' END], NULL)
    LOOP
        EXECUTE format('GRANT USAGE ON SCHEMA %I TO %I', current_schema(), process);
        -- Imports are staged in temporary tables. Where the database is somebody else's, its administrator
        -- sees to this.
        IF (SELECT pg_has_role(datdba, 'USAGE') FROM pg_database WHERE datname = current_database()) THEN
            EXECUTE format('GRANT CONNECT, TEMPORARY ON DATABASE %I TO %I', current_database(), process);
        END IF;
        FOR t IN
            SELECT c.oid::regclass AS name, c.relname, c.relkind FROM pg_class AS c
            WHERE c.relnamespace = current_schema()::regnamespace AND c.relkind IN ('r', 'p', 'S')
                AND pg_has_role(c.relowner, 'USAGE')
                AND NOT EXISTS (SELECT FROM pg_depend AS d WHERE d.objid = c.oid AND d.deptype = 'e')
        LOOP
            CASE
                WHEN t.relkind = 'S' THEN
                    EXECUTE format('GRANT USAGE ON SEQUENCE %s TO %I', t.name, process);
                WHEN t.relname IN ('goose_db_version', 'river_migration') THEN
                    EXECUTE format('GRANT SELECT ON %s TO %I', t.name, process);
                WHEN process = 'dawsos_api' AND t.relname = 'audit_log' THEN -- nobody unsays what was done
                    EXECUTE format('GRANT SELECT, INSERT ON %s TO %I', t.name, process);
                WHEN process = 'dawsos_api' AND t.relname = 'tenants' THEN
                    EXECUTE format('GRANT SELECT, INSERT, UPDATE (calendar) ON %s TO %I', t.name, process);
                ELSE
                    EXECUTE format('GRANT SELECT, INSERT, UPDATE, DELETE ON %s TO %I', t.name, process);
            END CASE;
            -- River rebuilds its indexes; before PostgreSQL 17 only their owner may.
            IF process = 'dawsos_worker' AND t.relkind <> 'S' AND t.relname LIKE 'river\_%'
                AND current_setting('server_version_num')::integer >= 170000 THEN
                EXECUTE format('GRANT MAINTAIN ON %s TO %I', t.name, process);
            END IF;
        END LOOP;
        EXECUTE format('GRANT EXECUTE ON FUNCTION breakers_on(text, text) TO %I', process);
        EXECUTE format('GRANT EXECUTE ON PROCEDURE analyze_table(text) TO %I', process);
    END LOOP;
    IF api THEN
        GRANT EXECUTE ON FUNCTION use_api_key(text, bytea, timestamptz), use_session(bytea, timestamptz, timestamptz),
            end_session(bytea), count_active_api_keys(timestamptz) TO dawsos_api;
    END IF;
END $$;
-- +goose StatementEnd
REVOKE EXECUTE ON PROCEDURE grant_dawsos_roles() FROM PUBLIC;

-- +goose StatementBegin
DO $$
DECLARE f text;
BEGIN
    FOREACH f IN ARRAY ARRAY['FUNCTION end_session(bytea)', 'FUNCTION count_active_api_keys(timestamptz)',
        'FUNCTION breakers_on(text, text)', 'PROCEDURE analyze_table(text)'] LOOP
        EXECUTE format('ALTER %s SET search_path = %I, pg_temp', f, current_schema());
    END LOOP;
END $$;
-- +goose StatementEnd

-- The role of dashboards sees what it may read of all tenants.
-- +goose StatementBegin
CREATE OR REPLACE PROCEDURE grant_dawsos_reader() LANGUAGE plpgsql AS $$
BEGIN
    EXECUTE format('GRANT USAGE ON SCHEMA %I TO dawsos_reader', current_schema());
    GRANT SELECT (tenant_id, alert_id, target, attempts, accepted_at, delivered_at, trace_id)
        ON alert_deliveries TO dawsos_reader;
    GRANT SELECT (id, tenant_id, alert_id, target, endpoint, state, error_message, retry_count,
            accepted_at, created_at, last_retry_at)
        ON alert_dlq TO dawsos_reader;
    GRANT EXECUTE ON FUNCTION queue_depth() TO dawsos_reader;
    CALL grant_dawsos_roles(); -- its policies
END $$;
-- +goose StatementEnd

-- Without the right to make roles the migration says what is left to do.
-- +goose StatementBegin
DO $$
DECLARE
    process text;
    missing text[] := '{}';
BEGIN
    FOREACH process IN ARRAY ARRAY['dawsos_api', 'dawsos_worker'] LOOP
        CONTINUE WHEN EXISTS (SELECT FROM pg_roles WHERE rolname = process);
        BEGIN
            EXECUTE format('CREATE ROLE %I NOLOGIN', process);
        EXCEPTION
            WHEN duplicate_object OR unique_violation THEN NULL; -- somebody made it meanwhile
            WHEN insufficient_privilege THEN missing := missing || process;
        END;
    END LOOP;
    IF missing <> '{}' THEN
        RAISE WARNING 'the roles % can not be made by %: the processes can not work with this database',
            array_to_string(missing, ', '), current_user
            USING HINT = 'Have them made (CREATE ROLE ... NOLOGIN), then: CALL grant_dawsos_roles()';
    END IF;
END $$;
-- +goose StatementEnd

-- +goose Down
-- +goose StatementBegin
DO $$
DECLARE
    t record;
    process text;
BEGIN
    FOR t IN
        SELECT c.oid::regclass AS name, p.polname FROM pg_policy AS p JOIN pg_class AS c ON c.oid = p.polrelid
        WHERE c.relnamespace = current_schema()::regnamespace AND p.polname IN ('api', 'worker', 'reader')
    LOOP
        EXECUTE format('DROP POLICY %I ON %s', t.polname, t.name);
    END LOOP;
    FOR t IN
        SELECT c.oid::regclass AS name FROM pg_class AS c
        WHERE c.relnamespace = current_schema()::regnamespace AND c.relrowsecurity
    LOOP
        EXECUTE format('ALTER TABLE %s DISABLE ROW LEVEL SECURITY', t.name);
    END LOOP;
    FOREACH process IN ARRAY ARRAY['dawsos_api', 'dawsos_worker'] LOOP
        CONTINUE WHEN NOT EXISTS (SELECT FROM pg_roles WHERE rolname = process);
        EXECUTE format('REVOKE ALL ON ALL TABLES IN SCHEMA %I FROM %I', current_schema(), process);
        EXECUTE format('REVOKE ALL ON ALL SEQUENCES IN SCHEMA %I FROM %I', current_schema(), process);
        EXECUTE format('REVOKE ALL ON ALL ROUTINES IN SCHEMA %I FROM %I', current_schema(), process);
        EXECUTE format('REVOKE ALL ON SCHEMA %I FROM %I', current_schema(), process);
        IF (SELECT pg_has_role(datdba, 'USAGE') FROM pg_database WHERE datname = current_database()) THEN
            EXECUTE format('REVOKE CONNECT, TEMPORARY ON DATABASE %I FROM %I', current_database(), process);
        END IF;
    END LOOP;
END $$;

CREATE OR REPLACE PROCEDURE grant_dawsos_reader() LANGUAGE plpgsql AS $$
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
DROP PROCEDURE grant_dawsos_roles();
DROP FUNCTION breakers_on(text, text);
DROP FUNCTION count_active_api_keys(timestamptz);
DROP FUNCTION end_session(bytea);
DROP PROCEDURE analyze_table(text);
