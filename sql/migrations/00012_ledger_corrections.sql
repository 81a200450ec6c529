-- Dividends, splits, and corrections by reversal. A ledger stays append-only: what was booked wrongly is
-- undone by a row that names it, once.

-- +goose Up
SET LOCAL lock_timeout = '5s';

ALTER TABLE portfolios
    -- Part of the ledger version where it is not the default; it never changes.
    ADD cost_method text NOT NULL DEFAULT 'fifo' CHECK (cost_method IN ('fifo', 'average'));

ALTER TABLE transactions
    DROP CONSTRAINT transactions_type_check,
    ADD CONSTRAINT transactions_type_check CHECK (type IN
        ('DEPOSIT', 'WITHDRAWAL', 'BUY', 'SELL', 'FX', 'FEE', 'DIVIDEND', 'SPLIT', 'REVERSAL')),
    ADD reverses uuid REFERENCES transactions (id),
    ADD CONSTRAINT transactions_reverses_check CHECK ((type = 'REVERSAL') = (reverses IS NOT NULL));
CREATE UNIQUE INDEX transactions_reverses ON transactions (reverses) WHERE reverses IS NOT NULL;

COMMENT ON COLUMN idempotency_keys.event_ids IS 'What the first request made: events, or transactions of a ledger.';

-- +goose Down
-- Fails while there are rows of the new types: a ledger loses none.
COMMENT ON COLUMN idempotency_keys.event_ids IS NULL;
DROP INDEX transactions_reverses;
ALTER TABLE transactions
    DROP CONSTRAINT transactions_reverses_check,
    DROP COLUMN reverses,
    DROP CONSTRAINT transactions_type_check,
    ADD CONSTRAINT transactions_type_check CHECK (type IN ('DEPOSIT', 'WITHDRAWAL', 'BUY', 'SELL', 'FX', 'FEE'));
ALTER TABLE portfolios DROP COLUMN cost_method;
