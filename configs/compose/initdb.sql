-- Run by PostgreSQL's image when its volume is new, as the superuser. DawsOS is none: it owns its
-- database, and may make others for a backup to be restored into, which is how one is verified.

-- Whatever fails, the server's log does not repeat a password.
SET log_statement = 'none';
SET log_min_error_statement = 'panic';

\getenv password DATABASE_PASSWORD
CREATE ROLE dawsos LOGIN CREATEDB PASSWORD :'password';
CREATE DATABASE dawsos OWNER dawsos;

-- The group of those who may read what dashboards show, and the roles of the processes. Migrations grant
-- them that; DawsOS itself could not make roles.
CREATE ROLE dawsos_reader NOLOGIN;
CREATE ROLE dawsos_api NOLOGIN;
CREATE ROLE dawsos_worker NOLOGIN;

-- API and worker come in with logins that own nothing and are bound by row level security.
\getenv password API_DB_PASSWORD
CREATE ROLE dawsos_backend LOGIN PASSWORD :'password' IN ROLE dawsos_api;
\getenv password WORKER_DB_PASSWORD
CREATE ROLE dawsos_jobs LOGIN PASSWORD :'password' IN ROLE dawsos_worker;

REVOKE ALL ON DATABASE dawsos FROM PUBLIC;
GRANT CONNECT ON DATABASE dawsos TO dawsos_reader, pg_monitor;
GRANT CONNECT, TEMPORARY ON DATABASE dawsos TO dawsos_api, dawsos_worker;
