CREATE TABLE idempotency_keys (
    principal    TEXT NOT NULL,
    method       TEXT NOT NULL,
    key          TEXT NOT NULL,
    -- SHA-256 of the request: the key is bound to it.
    request_hash {blob} NOT NULL,
    -- Who may finish; another one after the first was given up.
    lease        {uuid} NOT NULL,
    lease_until  {ts} NOT NULL,
    -- The answer to give again; NULL while in flight.
    http_status  {int},
    response     {blob},
    expires_at   {ts} NOT NULL,
    PRIMARY KEY (principal, method, key)
) {strict};

CREATE INDEX idempotency_keys_by_end ON idempotency_keys (expires_at);
