CREATE TABLE signing_keys (
    -- RFC 7638 thumbprint of the public key.
    kid        TEXT PRIMARY KEY NOT NULL,
    pkcs8      {blob} NOT NULL,
    public_key {blob} NOT NULL,
    created_at {ts} NOT NULL,
    -- From then on neither signs nor is published.
    retired_at {ts}
) {strict};
