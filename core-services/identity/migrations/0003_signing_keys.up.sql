-- The keys of access tokens. Which of them signs follows from the time alone: the newest
-- whose `signs_from` has come.
CREATE TABLE signing_keys (
    -- RFC 7638 thumbprint of the public key.
    kid        TEXT PRIMARY KEY NOT NULL,
    -- Counted from 1. Of two replicas that make the next key, one gets the number.
    generation {int} NOT NULL UNIQUE,
    -- PKCS #8, sealed with the service's own data key.
    private    {blob} NOT NULL,
    public_key {blob} NOT NULL,
    created_at {ts} NOT NULL,
    -- Published before, so that everyone knows it by then.
    signs_from {ts} NOT NULL
) {strict};
