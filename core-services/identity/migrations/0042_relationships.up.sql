CREATE TABLE relationships (
    user_id    {uuid} NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    target_id  {uuid} NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    -- `follow`, `block` or `mute`.
    kind       TEXT NOT NULL,
    created_at {ts} NOT NULL,
    PRIMARY KEY (user_id, target_id, kind)
) {strict};

CREATE INDEX relationships_by_user ON relationships (user_id, kind, created_at, target_id);
CREATE INDEX relationships_by_target ON relationships (target_id, kind, created_at, user_id);
