-- Reference data, ledger and pricing packs.
--
-- Every row belongs to a tenant. Market data is append-only: a correction is a row of a later
-- revision, and a pricing pack (date, revision) reads only rows up to both, so that an answer
-- computed from it can be computed again.

-- +goose Up
SET LOCAL lock_timeout = '5s';

CREATE TABLE tenants (
    id         text PRIMARY KEY CHECK (id ~ '^[a-z0-9][a-z0-9_-]{0,62}$'),
    -- Symbol whose closes are the valuation days of portfolios that name no calendar of their
    -- own, and for whose dates pricing packs are made.
    calendar   text,
    created_at timestamptz NOT NULL DEFAULT now()
);
INSERT INTO tenants (id) VALUES ('default');

-- One row for each accepted change of market data. content_hash chains: it covers the rows of
-- this revision and the hash before it, so the newest hash names all data of the tenant.
CREATE TABLE data_revisions (
    tenant_id    text        NOT NULL REFERENCES tenants (id),
    revision     bigint      NOT NULL CHECK (revision > 0),
    source       text        NOT NULL,
    row_count    bigint      NOT NULL,
    content_hash text        NOT NULL,
    created_at   timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (tenant_id, revision)
);

CREATE TABLE securities (
    id          uuid        PRIMARY KEY,
    tenant_id   text        NOT NULL REFERENCES tenants (id),
    symbol      text        NOT NULL CHECK (symbol <> ''),
    name        text        NOT NULL,
    asset_class text        NOT NULL,
    sector      text        NOT NULL,
    currency    text        NOT NULL CHECK (currency ~ '^[A-Z]{3}$'),
    role        text        NOT NULL CHECK (role IN ('holding', 'benchmark')),
    created_at  timestamptz NOT NULL DEFAULT now(),
    UNIQUE (tenant_id, symbol)
);

CREATE TABLE prices (
    tenant_id   text    NOT NULL,
    security_id uuid    NOT NULL REFERENCES securities (id),
    date        date    NOT NULL,
    revision    bigint  NOT NULL,
    close       numeric NOT NULL CHECK (close > 0 AND close < 'Infinity'), -- which NaN is not
    -- Series are read by security over dates: with the close in it, the index is all they need.
    PRIMARY KEY (security_id, date, revision) INCLUDE (close),
    FOREIGN KEY (tenant_id, revision) REFERENCES data_revisions (tenant_id, revision)
);

-- rate: units of quote for one unit of base.
CREATE TABLE fx_rates (
    tenant_id text    NOT NULL,
    base      text    NOT NULL CHECK (base ~ '^[A-Z]{3}$'),
    quote     text    NOT NULL CHECK (quote ~ '^[A-Z]{3}$'),
    date      date    NOT NULL,
    revision  bigint  NOT NULL,
    rate      numeric NOT NULL CHECK (rate > 0 AND rate < 'Infinity'),
    PRIMARY KEY (tenant_id, base, quote, date, revision),
    FOREIGN KEY (tenant_id, revision) REFERENCES data_revisions (tenant_id, revision)
);

CREATE TABLE macro_series (
    tenant_id text NOT NULL REFERENCES tenants (id),
    series    text NOT NULL CHECK (series <> ''),
    unit      text NOT NULL,
    frequency text NOT NULL CHECK (frequency IN ('daily', 'weekly', 'monthly', 'quarterly', 'annual')),
    origin    text NOT NULL,
    PRIMARY KEY (tenant_id, series)
);

-- date: the end of the observed period, not the release date.
CREATE TABLE macro_values (
    tenant_id text             NOT NULL,
    series    text             NOT NULL,
    date      date             NOT NULL,
    revision  bigint           NOT NULL,
    value     double precision NOT NULL,
    PRIMARY KEY (tenant_id, series, date, revision),
    FOREIGN KEY (tenant_id, series) REFERENCES macro_series (tenant_id, series),
    FOREIGN KEY (tenant_id, revision) REFERENCES data_revisions (tenant_id, revision)
);

CREATE TABLE pricing_packs (
    id         uuid        PRIMARY KEY,
    tenant_id  text        NOT NULL,
    date       date        NOT NULL,
    revision   bigint      NOT NULL,
    hash       text        NOT NULL,
    state      text        NOT NULL CHECK (state IN ('warming', 'fresh', 'error', 'stale')),
    created_at timestamptz NOT NULL DEFAULT now(),
    UNIQUE (tenant_id, date, revision),
    FOREIGN KEY (tenant_id, revision) REFERENCES data_revisions (tenant_id, revision)
);

CREATE TABLE portfolios (
    id             uuid        PRIMARY KEY,
    tenant_id      text        NOT NULL REFERENCES tenants (id),
    name           text        NOT NULL CHECK (name <> ''),
    base_currency  text        NOT NULL CHECK (base_currency ~ '^[A-Z]{3}$'),
    benchmark      text,
    calendar       text        NOT NULL,
    -- The ledger is append-only; head of its hash chain, moved in the transaction that appends.
    ledger_seq     bigint      NOT NULL DEFAULT 0,
    ledger_version text        NOT NULL,
    created_at     timestamptz NOT NULL DEFAULT now(),
    FOREIGN KEY (tenant_id, benchmark) REFERENCES securities (tenant_id, symbol),
    FOREIGN KEY (tenant_id, calendar) REFERENCES securities (tenant_id, symbol)
);
CREATE INDEX portfolios_tenant_created ON portfolios (tenant_id, created_at, id);

CREATE TABLE transactions (
    id             uuid        PRIMARY KEY,
    tenant_id      text        NOT NULL,
    portfolio_id   uuid        NOT NULL REFERENCES portfolios (id),
    seq            bigint      NOT NULL CHECK (seq > 0),
    date           date        NOT NULL,
    type           text        NOT NULL CHECK (type IN ('DEPOSIT', 'WITHDRAWAL', 'BUY', 'SELL', 'FX', 'FEE')),
    symbol         text,       -- a security for BUY and SELL, a pair such as USD/CHF for FX
    quantity       numeric,
    price          numeric,
    currency       text        NOT NULL CHECK (currency ~ '^[A-Z]{3}$'),
    amount         numeric     NOT NULL,
    ledger_version text        NOT NULL, -- the portfolio's version once this row is in
    created_at     timestamptz NOT NULL DEFAULT now(),
    UNIQUE (portfolio_id, seq)
);

-- +goose Down
DROP TABLE transactions, portfolios, pricing_packs, macro_values, macro_series, fx_rates, prices,
    securities, data_revisions, tenants;
