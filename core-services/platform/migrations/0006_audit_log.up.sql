CREATE TABLE audit_log (
    -- Without a gap: a number that is missing was removed.
    seq            {int} PRIMARY KEY NOT NULL,
    id             {uuid} NOT NULL UNIQUE,
    at             {ts} NOT NULL,
    actor_kind     TEXT NOT NULL,
    actor          TEXT NOT NULL,
    action         TEXT NOT NULL,
    subject        TEXT,
    -- The JSON text that was hashed; a JSON column would spell it anew.
    detail         TEXT NOT NULL,
    address_prefix TEXT,
    prev_hash      {blob} NOT NULL,
    hash           {blob} NOT NULL
) {strict};

CREATE INDEX audit_log_by_subject ON audit_log (subject, seq);
CREATE INDEX audit_log_by_actor ON audit_log (actor, seq);
CREATE INDEX audit_log_by_action ON audit_log (action, seq);

-- One row: the newest entry. A log whose end was cut off does not reach it.
CREATE TABLE audit_head (
    id   {int} PRIMARY KEY NOT NULL CHECK (id = 1),
    seq  {int} NOT NULL,
    hash {blob} NOT NULL
) {strict};
