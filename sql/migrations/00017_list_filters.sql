-- Lists by what they are filtered by: in the audit trail what an actor did, an action, what happened to a kind
-- of thing and to one thing; events by their source, where it is not the usual one.
--
-- Alone and concurrently: these tables are long, and written to meanwhile. What an interrupted run leaves
-- behind is an index that is not valid; the next run drops it first.

-- +goose NO TRANSACTION
-- +goose Up
DROP INDEX CONCURRENTLY IF EXISTS audit_log_subject_id;
CREATE INDEX CONCURRENTLY audit_log_subject_id ON audit_log (tenant_id, subject_id, id DESC);
DROP INDEX CONCURRENTLY IF EXISTS audit_log_kind;
CREATE INDEX CONCURRENTLY audit_log_kind ON audit_log (tenant_id, subject, id DESC);
DROP INDEX CONCURRENTLY IF EXISTS audit_log_action;
CREATE INDEX CONCURRENTLY audit_log_action ON audit_log (tenant_id, action, id DESC);
DROP INDEX CONCURRENTLY IF EXISTS audit_log_actor;
CREATE INDEX CONCURRENTLY audit_log_actor ON audit_log (tenant_id, actor, id DESC);
DROP INDEX CONCURRENTLY IF EXISTS audit_log_subject; -- audit_log_subject_id finds the same
DROP INDEX CONCURRENTLY IF EXISTS alert_events_source;
-- Partial: a caller's message pays nothing for it.
CREATE INDEX CONCURRENTLY alert_events_source ON alert_events (tenant_id, source, id DESC) WHERE source <> 'direct';

-- +goose Down
DROP INDEX CONCURRENTLY IF EXISTS alert_events_source;
CREATE INDEX CONCURRENTLY IF NOT EXISTS audit_log_subject ON audit_log (tenant_id, subject, subject_id, id DESC);
DROP INDEX CONCURRENTLY IF EXISTS audit_log_actor;
DROP INDEX CONCURRENTLY IF EXISTS audit_log_action;
DROP INDEX CONCURRENTLY IF EXISTS audit_log_kind;
DROP INDEX CONCURRENTLY IF EXISTS audit_log_subject_id;
