-- What portfolio and macro analytics read beyond closes: whole bars, securities whose attributes change,
-- ratings, fundamentals and news.
--
-- All of it is append-only and has revisions, as prices have: a correction is a row of a later
-- revision, and a pricing pack (date, revision) reads only rows up to both.

-- +goose Up
SET LOCAL lock_timeout = '5s';

-- The row of a security says what it was when it was listed; what became of it stands in
-- security_changes. Symbol and currency never change: bookings and prices hang on them.
ALTER TABLE securities
    ADD revision  bigint  NOT NULL DEFAULT 1, -- of the import that listed it
    -- Of bonds and bond indices: modified duration in years, and convexity.
    ADD duration  numeric CHECK (duration >= 0 AND duration < 'Infinity'),
    ADD convexity numeric CHECK (convexity > '-Infinity' AND convexity < 'Infinity');

CREATE TABLE security_changes (
    security_id uuid    NOT NULL REFERENCES securities (id),
    tenant_id   text    NOT NULL,
    revision    bigint  NOT NULL,
    name        text    NOT NULL,
    asset_class text    NOT NULL,
    sector      text    NOT NULL,
    role        text    NOT NULL CHECK (role IN ('holding', 'benchmark')),
    duration    numeric CHECK (duration >= 0 AND duration < 'Infinity'),
    convexity   numeric CHECK (convexity > '-Infinity' AND convexity < 'Infinity'),
    PRIMARY KEY (security_id, revision),
    FOREIGN KEY (tenant_id, revision) REFERENCES data_revisions (tenant_id, revision)
);

ALTER TABLE prices
    ADD open   numeric CHECK (open > 0 AND open < 'Infinity'),
    ADD high   numeric CHECK (high > 0 AND high < 'Infinity'),
    ADD low    numeric CHECK (low > 0 AND low < 'Infinity'),
    ADD volume numeric CHECK (volume >= 0 AND volume < 'Infinity');

-- score: 0 to 10. date: the day from which it is known.
CREATE TABLE ratings (
    tenant_id   text    NOT NULL,
    security_id uuid    NOT NULL REFERENCES securities (id),
    metric      text    NOT NULL CHECK (metric IN ('quality_score', 'moat_score', 'balance_sheet_score',
        'management_score', 'valuation_score', 'dividend_safety', 'overall_rating')),
    date        date    NOT NULL,
    revision    bigint  NOT NULL,
    score       numeric NOT NULL CHECK (score BETWEEN 0 AND 10),
    source      text    NOT NULL DEFAULT '',
    PRIMARY KEY (security_id, metric, date, revision),
    FOREIGN KEY (tenant_id, revision) REFERENCES data_revisions (tenant_id, revision)
);

-- One figure of a company's accounts, as a provider gave it. date: the day from which it is known, not
-- the end of the period.
CREATE TABLE fundamentals (
    tenant_id   text             NOT NULL,
    security_id uuid             NOT NULL REFERENCES securities (id),
    provider    text             NOT NULL CHECK (provider <> ''),
    metric      text             NOT NULL CHECK (metric <> ''),
    date        date             NOT NULL,
    revision    bigint           NOT NULL,
    period_end  date,
    value       double precision NOT NULL CHECK (value > '-Infinity' AND value < 'Infinity'),
    PRIMARY KEY (security_id, provider, metric, date, revision),
    FOREIGN KEY (tenant_id, revision) REFERENCES data_revisions (tenant_id, revision)
);

-- date: the UTC day of published_at, which cuts are made by. symbols: securities that it is about.
CREATE TABLE news (
    tenant_id    text             NOT NULL,
    id           text             NOT NULL CHECK (id <> ''), -- the source's
    revision     bigint           NOT NULL,
    published_at timestamptz      NOT NULL,
    date         date             NOT NULL CHECK (date = (published_at AT TIME ZONE 'UTC')::date),
    title        text             NOT NULL CHECK (title <> ''),
    source       text             NOT NULL,
    url          text             NOT NULL DEFAULT '',
    sentiment    double precision CHECK (sentiment BETWEEN -1 AND 1), -- null: not judged
    symbols      text[]           NOT NULL,
    PRIMARY KEY (tenant_id, id, revision),
    FOREIGN KEY (tenant_id, revision) REFERENCES data_revisions (tenant_id, revision)
);
CREATE INDEX news_date ON news (tenant_id, date DESC);
CREATE INDEX news_symbols ON news USING gin (symbols);

-- +goose Down
DROP TABLE news, fundamentals, ratings, security_changes;
ALTER TABLE prices DROP open, DROP high, DROP low, DROP volume;
ALTER TABLE securities DROP revision, DROP duration, DROP convexity;
