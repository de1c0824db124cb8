CREATE TABLE sagas (
    id         {uuid} PRIMARY KEY NOT NULL,
    kind       TEXT NOT NULL,
    -- What the steps know of each other.
    state      {json} NOT NULL,
    -- The step to take next; while compensating, the one to undo next.
    step       TEXT NOT NULL,
    -- running, compensating, done, failed
    status     TEXT NOT NULL,
    -- Tries of this step that came to nothing.
    attempts   {int} NOT NULL,
    last_error TEXT,
    created_at {ts} NOT NULL,
    updated_at {ts} NOT NULL
) {strict};

CREATE INDEX sagas_by_status ON sagas (status, id);
