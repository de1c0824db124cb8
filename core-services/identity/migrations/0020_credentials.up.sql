-- What a user can prove themselves with besides the password.
CREATE TABLE credentials (
    id           {uuid} PRIMARY KEY NOT NULL,
    user_id      {uuid} NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    -- `passkey`, `totp`, `sms` or `oidc`.
    kind         TEXT NOT NULL,
    -- What its owner calls it, or the address at the provider. Sealed.
    name         {blob} NOT NULL,
    -- The provider of `oidc`.
    provider     TEXT NOT NULL,
    -- A passkey's public key and counter, an authenticator's secret. Sealed.
    secret       {blob},
    -- How it is found: by the passkey's id, or by who somebody is at a provider; a keyed hash.
    lookup       {blob},
    -- The newest time step whose code was used (RFC 6238 section 5.2).
    last_step    {int},
    created_at   {ts} NOT NULL,
    -- From then on it counts.
    confirmed_at {ts},
    last_used_at {ts}
) {strict};

CREATE INDEX credentials_by_user ON credentials (user_id, created_at);

CREATE UNIQUE INDEX credentials_by_lookup ON credentials (lookup) WHERE lookup IS NOT NULL;

-- One authenticator and one phone for each user.
CREATE UNIQUE INDEX credentials_one_of_a_kind ON credentials (user_id, kind)
    WHERE kind = 'totp' OR kind = 'sms';

CREATE TABLE recovery_codes (
    user_id    {uuid} NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    -- SHA-256 of 80 random bits.
    code_hash  {blob} NOT NULL,
    created_at {ts} NOT NULL,
    used_at    {ts},
    PRIMARY KEY (user_id, code_hash)
) {strict};

-- What was begun and not finished: a sign-in that waits for its second factor, a ceremony of a
-- passkey, a visit to a provider. Its holder has a secret whose hash this is found by.
CREATE TABLE tickets (
    -- SHA-256 of 256 random bits.
    hash       {blob} PRIMARY KEY NOT NULL,
    -- `second_factor`, `passkey_registration`, `passkey_login` or `oidc`.
    kind       TEXT NOT NULL,
    user_id    {uuid} REFERENCES users (id) ON DELETE CASCADE,
    -- Sealed.
    state      {blob} NOT NULL,
    attempts   {int} NOT NULL,
    created_at {ts} NOT NULL,
    expires_at {ts} NOT NULL
) {strict};

CREATE INDEX tickets_by_user ON tickets (user_id, kind);
CREATE INDEX tickets_by_age ON tickets (expires_at);
