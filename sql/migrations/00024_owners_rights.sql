-- What runs with its owner's rights is for those to whom it is granted. pg_restore --no-privileges, which is how a dump
-- is restored, makes functions as PostgreSQL does by itself: for everybody to execute. So the procedure that grants what
-- the roles need, with which each run of the migrations ends, takes that back first. count_alert_rules stays: whoever
-- calls it learns a number.

-- +goose Up
SET LOCAL lock_timeout = '5s';

-- What it was goes on under another name: older releases, and grant_dawsos_reader(), call it by the one that they know.
ALTER PROCEDURE grant_dawsos_roles() RENAME TO grant_dawsos_rights;

-- As before it can't be called in a transaction as long as a table lacks policies: grant_dawsos_rights() commits.
-- +goose StatementBegin
CREATE OR REPLACE PROCEDURE grant_dawsos_roles() LANGUAGE plpgsql AS $$
BEGIN
    REVOKE EXECUTE ON FUNCTION use_api_key(text, bytea, timestamptz), use_session(bytea, timestamptz, timestamptz),
        end_session(bytea), count_active_api_keys(timestamptz), breakers_on(text, text), queue_depth() FROM PUBLIC;
    REVOKE EXECUTE ON PROCEDURE analyze_table(text), grant_dawsos_reader(), grant_dawsos_rights(), grant_dawsos_roles() FROM PUBLIC;
    CALL grant_dawsos_rights();
END $$;
-- +goose StatementEnd
REVOKE EXECUTE ON PROCEDURE grant_dawsos_roles() FROM PUBLIC;

-- +goose Down
SET LOCAL lock_timeout = '5s';
DROP PROCEDURE grant_dawsos_roles();
ALTER PROCEDURE grant_dawsos_rights() RENAME TO grant_dawsos_roles;
