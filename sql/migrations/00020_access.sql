-- Who may call: API keys, and the sessions of people at the console. Both are kept as hashes: who reads
-- these tables can't come in with what stands there.

-- +goose Up
SET LOCAL lock_timeout = '5s';

CREATE TABLE api_keys (
    id           text        PRIMARY KEY, -- names the key; no secret
    tenant_id    text        NOT NULL REFERENCES tenants (id),
    name         text        NOT NULL CHECK (length(name) BETWEEN 1 AND 200),
    role         text        NOT NULL CHECK (role IN ('admin', 'operator', 'analyst', 'service', 'read-only')),
    scopes       text[],                  -- null: all that its role may
    user_id      text        CHECK (length(user_id) BETWEEN 1 AND 200), -- null: a program's
    hash         bytea       NOT NULL,    -- SHA-256 of the whole key
    created_at   timestamptz NOT NULL,
    created_by   text        NOT NULL,
    expires_at   timestamptz,             -- null: never
    revoked_at   timestamptz,
    last_used_at timestamptz,             -- within a minute
    rotated_from text        REFERENCES api_keys (id)
);
CREATE INDEX api_keys_list ON api_keys (tenant_id, created_at DESC, id DESC);

CREATE TABLE sessions (
    hash         bytea       PRIMARY KEY, -- SHA-256 of the cookie
    tenant_id    text        NOT NULL REFERENCES tenants (id),
    key_id       text        REFERENCES api_keys (id), -- it ends with its key; null of one that began with a token
    subject      text        NOT NULL,
    user_id      text,
    role         text        NOT NULL,
    created_at   timestamptz NOT NULL,
    last_seen_at timestamptz NOT NULL,    -- within a minute
    expires_at   timestamptz NOT NULL
);
CREATE INDEX sessions_expires ON sessions (expires_at);

-- Whose a key is has to be found before it is known whose rows may be seen: these functions run with
-- their owner's rights, and tell nothing to who does not have the whole key or cookie.
-- +goose StatementBegin
CREATE FUNCTION use_api_key(key_id text, key_hash bytea, at timestamptz) RETURNS SETOF api_keys
LANGUAGE sql VOLATILE SECURITY DEFINER AS $$
    UPDATE api_keys SET last_used_at = at
    WHERE id = key_id AND hash = key_hash AND revoked_at IS NULL AND (expires_at IS NULL OR expires_at > at)
        AND (last_used_at IS NULL OR last_used_at < at - interval '1 minute');
    SELECT * FROM api_keys WHERE id = key_id AND hash = key_hash;
$$;
-- +goose StatementEnd
REVOKE EXECUTE ON FUNCTION use_api_key(text, bytea, timestamptz) FROM PUBLIC;

-- +goose StatementBegin
CREATE FUNCTION use_session(session_hash bytea, at timestamptz, seen_since timestamptz) RETURNS SETOF sessions
LANGUAGE sql VOLATILE SECURITY DEFINER AS $$
    UPDATE sessions SET last_seen_at = at
    WHERE hash = session_hash AND expires_at > at AND last_seen_at > seen_since AND last_seen_at < at - interval '1 minute';
    SELECT s.* FROM sessions AS s LEFT JOIN api_keys AS k ON k.id = s.key_id
    WHERE s.hash = session_hash AND s.expires_at > at AND s.last_seen_at > seen_since
        AND (s.key_id IS NULL OR k.revoked_at IS NULL AND (k.expires_at IS NULL OR k.expires_at > at));
$$;
-- +goose StatementEnd
REVOKE EXECUTE ON FUNCTION use_session(bytea, timestamptz, timestamptz) FROM PUBLIC;

-- +goose StatementBegin
DO $$ BEGIN
    EXECUTE format('ALTER FUNCTION use_api_key(text, bytea, timestamptz) SET search_path = %I, pg_temp', current_schema());
    EXECUTE format('ALTER FUNCTION use_session(bytea, timestamptz, timestamptz) SET search_path = %I, pg_temp', current_schema());
END $$;
-- +goose StatementEnd

-- +goose Down
DROP FUNCTION use_session(bytea, timestamptz, timestamptz);
DROP FUNCTION use_api_key(text, bytea, timestamptz);
DROP TABLE sessions, api_keys;
