CREATE TABLE sessions (
    id           {uuid} PRIMARY KEY NOT NULL,
    user_id      {uuid} NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    -- When the owner last proved who they are.
    auth_time    {ts} NOT NULL,
    -- How (RFC 8176), separated by blanks.
    amr          TEXT NOT NULL,
    device       {blob} NOT NULL,
    -- Tells a user's devices apart; means nothing between users.
    device_index {blob} NOT NULL,
    network      TEXT NOT NULL,
    created_at   {ts} NOT NULL,
    last_seen_at {ts} NOT NULL,
    expires_at   {ts} NOT NULL,
    revoked_at   {ts},
    reason       TEXT
) {strict};

CREATE INDEX sessions_by_user ON sessions (user_id, created_at);

-- A session's refresh tokens are one family, a single line: at most one is unused.
CREATE TABLE refresh_tokens (
    id          {uuid} PRIMARY KEY NOT NULL,
    session_id  {uuid} NOT NULL REFERENCES sessions (id) ON DELETE CASCADE,
    -- The token it was traded for. Unique: a second child would be a fork.
    parent_id   {uuid} UNIQUE,
    -- SHA-256 of the secret half; the secret itself is nowhere.
    secret_hash {blob} NOT NULL,
    created_at  {ts} NOT NULL,
    expires_at  {ts} NOT NULL,
    used_at     {ts}
) {strict};

CREATE INDEX refresh_tokens_by_session ON refresh_tokens (session_id);
