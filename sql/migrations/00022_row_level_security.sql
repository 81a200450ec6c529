-- The policies of migration 21, table by table: old processes work meanwhile (grant_dawsos_roles). What an interrupted
-- run has left to do, the next one does.

-- +goose NO TRANSACTION
-- +goose Up
CALL grant_dawsos_roles();

-- +goose Down
SELECT 1; -- the way back from 21 takes policies and rights away
