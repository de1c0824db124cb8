-- Keys of programs. What the owner calls them is personal; the secret is nowhere.
CREATE TABLE api_keys (
    id           {uuid} PRIMARY KEY NOT NULL,
    user_id      {uuid} NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    name         {blob} NOT NULL,
    -- SHA-256 of the secret half.
    secret_hash  {blob} NOT NULL,
    -- Separated by blanks.
    scopes       TEXT NOT NULL,
    created_at   {ts} NOT NULL,
    expires_at   {ts} NOT NULL,
    -- To the hour.
    last_used_at {ts},
    revoked_at   {ts}
) {strict};

CREATE INDEX api_keys_by_user ON api_keys (user_id, created_at);
CREATE INDEX api_keys_by_end ON api_keys (expires_at);

-- What must not be believed any more although its tokens have not expired. Written under
-- the audit log's lock, so that the numbers ascend in the order of the commits: who has
-- read up to one has missed none before it.
CREATE TABLE revocations (
    seq     {serial},
    -- `session`, `api_key` or `user`.
    kind    TEXT NOT NULL,
    subject {uuid} NOT NULL,
    at      {ts} NOT NULL,
    -- From then on no token of it is left.
    until   {ts} NOT NULL
) {strict};

CREATE INDEX revocations_by_end ON revocations (until);
