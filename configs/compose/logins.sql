-- The logins of what watches the database, run at every start of the observability profile as the
-- superuser, in the database of DawsOS. They have the passwords of .env from then on.
\set ON_ERROR_STOP on

-- Whatever fails, the server's log does not repeat a password.
SET log_statement = 'none';
SET log_min_error_statement = 'panic';
SET client_min_messages = 'warning'; -- what is there already is no news

SELECT format('CREATE ROLE %I LOGIN', login)
FROM (VALUES ('dawsos_grafana'), ('dawsos_exporter')) AS wanted (login)
WHERE NOT EXISTS (SELECT FROM pg_roles WHERE rolname = login)
\gexec

-- Grafana runs whatever SQL its users write: reading, not long, and not many at a time.
\getenv password GRAFANA_DB_PASSWORD
ALTER ROLE dawsos_grafana PASSWORD :'password' CONNECTION LIMIT 10;
ALTER ROLE dawsos_grafana SET default_transaction_read_only = on;
ALTER ROLE dawsos_grafana SET statement_timeout = '5s';
GRANT dawsos_reader TO dawsos_grafana;

\getenv password EXPORTER_DB_PASSWORD
ALTER ROLE dawsos_exporter PASSWORD :'password' CONNECTION LIMIT 5;
ALTER ROLE dawsos_exporter SET statement_timeout = '10s';
GRANT pg_monitor TO dawsos_exporter;
