CREATE TABLE jobs (
    id           {uuid} PRIMARY KEY NOT NULL,
    kind         TEXT NOT NULL,
    payload      {json} NOT NULL,
    -- Among the jobs that are not finished there is one of a key.
    unique_key   TEXT,
    -- queued, running, done, failed
    state        TEXT NOT NULL,
    run_at       {ts} NOT NULL,
    attempts     {int} NOT NULL,
    attempts_max {int} NOT NULL,
    -- The worker that runs it.
    lease_owner  {uuid},
    -- Grows while that worker lives; others watch it by their own monotonic clocks.
    heartbeat    {int} NOT NULL,
    -- For people; nothing is decided by it.
    heartbeat_at {ts},
    last_error   TEXT,
    created_at   {ts} NOT NULL,
    finished_at  {ts}
) {strict};

CREATE INDEX jobs_queued ON jobs (run_at, id) WHERE state = 'queued';
CREATE INDEX jobs_running ON jobs (id) WHERE state = 'running';
CREATE INDEX jobs_finished ON jobs (finished_at) WHERE finished_at IS NOT NULL;
CREATE UNIQUE INDEX jobs_unique_key ON jobs (unique_key) WHERE finished_at IS NULL;

-- The newest tick of each schedule that became a job.
CREATE TABLE job_schedules (
    kind      TEXT PRIMARY KEY NOT NULL,
    last_tick {ts} NOT NULL
) {strict};
