CREATE TABLE users (
    id                  {uuid} PRIMARY KEY NOT NULL,
    -- Lower case: one address, one account.
    email               TEXT NOT NULL UNIQUE,
    -- PHC string: algorithm, parameters, salt, hash.
    password_hash       TEXT NOT NULL,
    name                TEXT NOT NULL,
    display_name        TEXT NOT NULL,
    phone               TEXT NOT NULL,
    created_at          {ts} NOT NULL,
    updated_at          {ts} NOT NULL,
    -- When someone last tried to register this address again.
    registered_again_at {ts}
) {strict};

CREATE TABLE sessions (
    id         {uuid} PRIMARY KEY NOT NULL,
    user_id    {uuid} NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    created_at {ts} NOT NULL,
    expires_at {ts} NOT NULL,
    revoked_at {ts}
) {strict};

CREATE INDEX sessions_by_user ON sessions (user_id, created_at);

-- A session's refresh tokens are one family: at most one of them is unused.
CREATE TABLE refresh_tokens (
    id          {uuid} PRIMARY KEY NOT NULL,
    session_id  {uuid} NOT NULL REFERENCES sessions (id) ON DELETE CASCADE,
    -- SHA-256 of the secret half; the secret itself is nowhere.
    secret_hash {blob} NOT NULL,
    created_at  {ts} NOT NULL,
    expires_at  {ts} NOT NULL,
    used_at     {ts}
) {strict};

CREATE INDEX refresh_tokens_by_session ON refresh_tokens (session_id);

CREATE TABLE signing_keys (
    -- RFC 7638 thumbprint of the public key.
    kid        TEXT PRIMARY KEY NOT NULL,
    pkcs8      {blob} NOT NULL,
    public_key {blob} NOT NULL,
    created_at {ts} NOT NULL,
    -- From then on neither signs nor is published.
    retired_at {ts}
) {strict};
