-- name: Portfolio :one
SELECT * FROM portfolios
WHERE tenant_id = @tenant_id AND id = @id;

-- LockPortfolio serializes appends to one portfolio: the row holds the head of the hash chain.
-- name: LockPortfolio :one
SELECT * FROM portfolios
WHERE tenant_id = @tenant_id AND id = @id
FOR UPDATE;

-- name: PortfoliosAfter :many
SELECT * FROM portfolios
WHERE tenant_id = @tenant_id AND (created_at, id) > (@created_at::timestamptz, @id::uuid)
ORDER BY created_at, id
LIMIT @max_rows::bigint;

-- name: InsertPortfolio :exec
INSERT INTO portfolios (
    id, tenant_id, name, base_currency, benchmark, calendar, cost_method, ledger_seq, ledger_version,
    created_at
) VALUES (
    @id, @tenant_id, @name, @base_currency, @benchmark, @calendar, @cost_method, @ledger_seq, @ledger_version,
    @created_at
);

-- name: MoveLedger :exec
UPDATE portfolios SET ledger_seq = @ledger_seq, ledger_version = @ledger_version
WHERE tenant_id = @tenant_id AND id = @id;

-- name: InsertTransactions :batchexec
INSERT INTO transactions (
    id, tenant_id, portfolio_id, seq, date, type, symbol, quantity, price, currency, amount,
    reverses, ledger_version
) VALUES (
    @id, @tenant_id, @portfolio_id, @seq, @date, @type, @symbol, @quantity, @price, @currency, @amount,
    @reverses, @ledger_version
);

-- name: TransactionsUntil :many
SELECT sqlc.embed(t), s.id AS security_id
FROM transactions AS t
LEFT JOIN securities AS s
    ON s.tenant_id = t.tenant_id AND s.symbol = t.symbol AND t.type IN ('BUY', 'SELL', 'DIVIDEND', 'SPLIT')
WHERE t.tenant_id = @tenant_id AND t.portfolio_id = @portfolio_id AND t.seq <= @seq AND t.date <= @asof
ORDER BY t.date, t.seq;

-- name: TransactionsAfter :many
SELECT sqlc.embed(t), s.id AS security_id
FROM transactions AS t
LEFT JOIN securities AS s
    ON s.tenant_id = t.tenant_id AND s.symbol = t.symbol AND t.type IN ('BUY', 'SELL', 'DIVIDEND', 'SPLIT')
WHERE t.tenant_id = @tenant_id AND t.portfolio_id = @portfolio_id AND t.seq > @after
ORDER BY t.seq
LIMIT @max_rows::bigint;

-- TradesOf returns what is needed to tell how much of the symbols was held when: without what has been
-- reversed.
-- name: TradesOf :many
SELECT sqlc.embed(t), s.id AS security_id
FROM transactions AS t
LEFT JOIN securities AS s
    ON s.tenant_id = t.tenant_id AND s.symbol = t.symbol AND t.type IN ('BUY', 'SELL', 'DIVIDEND', 'SPLIT')
WHERE t.tenant_id = @tenant_id AND t.portfolio_id = @portfolio_id
    AND t.type IN ('BUY', 'SELL', 'SPLIT') AND t.symbol = ANY (@symbols::text[])
    AND NOT EXISTS (SELECT FROM transactions AS r WHERE r.reverses = t.id)
ORDER BY t.date, t.seq;

-- BookedTransaction finds one transaction, and the number of what has reversed it.
-- name: BookedTransaction :one
SELECT sqlc.embed(t), s.id AS security_id, r.seq AS reversed_by
FROM transactions AS t
LEFT JOIN securities AS s
    ON s.tenant_id = t.tenant_id AND s.symbol = t.symbol AND t.type IN ('BUY', 'SELL', 'DIVIDEND', 'SPLIT')
LEFT JOIN transactions AS r ON r.reverses = t.id
WHERE t.tenant_id = @tenant_id AND t.portfolio_id = @portfolio_id AND t.id = @id;

-- TransactionsByID returns what one request has booked, in the order of booking.
-- name: TransactionsByID :many
SELECT sqlc.embed(t), s.id AS security_id
FROM transactions AS t
LEFT JOIN securities AS s
    ON s.tenant_id = t.tenant_id AND s.symbol = t.symbol AND t.type IN ('BUY', 'SELL', 'DIVIDEND', 'SPLIT')
WHERE t.tenant_id = @tenant_id AND t.portfolio_id = @portfolio_id AND t.id = ANY (@ids::uuid[])
ORDER BY t.seq;

-- LedgerSeq finds the transaction after which a portfolio's ledger had a version. Without an index
-- of its own: only replays ask, they read the portfolio's transactions anyway, and an index over
-- hashes would cost every booking more than it saves them.
-- name: LedgerSeq :one
SELECT seq FROM transactions
WHERE tenant_id = @tenant_id AND portfolio_id = @portfolio_id AND ledger_version = @ledger_version
ORDER BY seq DESC
LIMIT 1;
