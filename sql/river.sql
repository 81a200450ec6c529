-- What our queries read of River's own table, for sqlc alone: River's migrations, not ours,
-- create it (internal/store/migrate).
CREATE TABLE river_job (
    id           bigint PRIMARY KEY,
    kind         text NOT NULL,
    queue        text NOT NULL,
    args         jsonb NOT NULL,
    state        text NOT NULL,
    priority     smallint NOT NULL,
    created_at   timestamptz NOT NULL,
    scheduled_at timestamptz NOT NULL,
    attempted_at timestamptz,
    finalized_at timestamptz
);
