-- BeginJobRun records that a job is being worked. What the same job left running under River's ids that
-- nobody works any more was cut off: its worker died.
-- name: BeginJobRun :one
WITH cut_off AS (
    UPDATE job_runs AS r SET status = 'failed', ended_at = @started_at, error = 'the worker went away in the middle of it'
    WHERE r.job = @job AND r.status = 'running' AND (r.job_id, r.attempt) <> (@job_id::bigint, @attempt::integer)
        AND NOT EXISTS (
            SELECT FROM river_job AS j WHERE j.id = r.job_id AND j.state = 'running' AND j.attempt = r.attempt
        )
)
INSERT INTO job_runs (id, job, tenant_id, trigger, chain, job_id, attempt, status, started_at)
VALUES (@id, @job, sqlc.narg(tenant_id), @trigger, sqlc.narg(chain), @job_id, @attempt, 'running', @started_at)
ON CONFLICT (job_id, attempt) WHERE job_id IS NOT NULL DO UPDATE SET status = 'running', ended_at = NULL, error = NULL
RETURNING id;

-- name: EndJobRun :exec
UPDATE job_runs SET status = @status, ended_at = @ended_at::timestamptz, error = sqlc.narg(error), detail = @detail
WHERE id = @id;

-- name: SkipJobRuns :exec
INSERT INTO job_runs (id, job, tenant_id, trigger, chain, attempt, status, started_at, ended_at, error)
SELECT unnest(@ids::uuid[]), unnest(@jobs::text[]), sqlc.narg(tenant_id), 'chain', @chain, 0, 'skipped', @at::timestamptz, @at, @reason::text;

-- JobRuns and LastJobRuns are the newest runs of a job, and of each of some. With an equality and no order by
-- job, the plan may walk all runs backwards by id to find that a job has none.
-- name: JobRuns :many
SELECT * FROM job_runs
WHERE job BETWEEN @job AND @job AND id < @before
ORDER BY job, id DESC
LIMIT @max_rows::integer;

-- name: LastJobRuns :many
SELECT sqlc.embed(job_runs)
FROM (SELECT unnest(@jobs::text[]) AS name) AS k
CROSS JOIN LATERAL (
    SELECT r.id FROM job_runs AS r WHERE r.job BETWEEN k.name AND k.name ORDER BY r.job, r.id DESC LIMIT @most::integer
) AS newest
JOIN job_runs ON job_runs.id = newest.id
ORDER BY k.name, job_runs.id DESC;

-- LastSuccesses is when each job last ended well.
-- name: LastSuccesses :many
SELECT k.name::text AS job, r.ended_at::timestamptz AS ended_at
FROM (SELECT unnest(@jobs::text[]) AS name) AS k
CROSS JOIN LATERAL (
    SELECT s.ended_at FROM job_runs AS s
    WHERE s.job = k.name AND s.status = 'succeeded'
    ORDER BY s.ended_at DESC LIMIT 1
) AS r;

-- name: WaitingJobs :many
SELECT DISTINCT kind FROM river_job
WHERE kind = ANY (@kinds::text[]) AND state IN ('available', 'pending', 'retryable', 'scheduled');

-- ChainSeconds is how long the last complete nightly orders took from their first job to the pack being
-- fresh; 0 of none.
-- name: ChainSeconds :one
SELECT coalesce(avg(c.seconds), 0)::float8 AS seconds, count(*) AS chains
FROM (
    SELECT extract(epoch FROM m.ended_at - min(b.started_at)) AS seconds
    FROM (
        SELECT f.chain, f.ended_at FROM job_runs AS f
        WHERE f.job = @last AND f.status = 'succeeded' AND f.chain IS NOT NULL
        ORDER BY f.ended_at DESC LIMIT 5
    ) AS m
    JOIN job_runs AS b ON b.chain = m.chain
    GROUP BY m.chain, m.ended_at
) AS c;

-- ChainUnderWay is when the nightly order began that has not made its packs fresh yet, has not failed, and
-- is of a tenant.
-- name: ChainUnderWay :many
SELECT b.started_at
FROM job_runs AS b
WHERE b.job = @first AND b.chain IS NOT NULL AND coalesce(b.tenant_id, @tenant_id) = @tenant_id
    AND NOT EXISTS (
        SELECT FROM job_runs AS m
        WHERE m.chain = b.chain AND (m.job = @last AND m.status <> 'running' OR m.job = ANY (@dependent::text[]) AND m.status = 'skipped' AND m.attempt = 0)
    )
    AND b.started_at > @after
ORDER BY b.started_at DESC
LIMIT 1;

-- WaitingBuild finds a job that has not begun, and keeps River from beginning it before the transaction
-- ends: it will see what that commits.
-- name: WaitingBuild :many
SELECT id FROM river_job
WHERE kind = @kind AND state IN ('available', 'scheduled') AND coalesce(args ->> 'tenant_id', '') IN ('', @tenant_id::text)
LIMIT 1
FOR UPDATE SKIP LOCKED;

-- PruneJobRuns leaves each job its last success: whether one was missed is told from that.
-- name: PruneJobRuns :execrows
DELETE FROM job_runs WHERE id IN (
    SELECT r.id FROM job_runs AS r
    WHERE r.id < @before AND r.status <> 'running'
        AND (r.status <> 'succeeded' OR r.ended_at < (
            SELECT max(s.ended_at) FROM job_runs AS s WHERE s.job = r.job AND s.status = 'succeeded'
        ))
    ORDER BY r.id
    LIMIT @max_rows::integer
);
