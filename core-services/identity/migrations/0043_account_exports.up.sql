-- One for each user at a time.
CREATE TABLE account_exports (
    id         {uuid} PRIMARY KEY NOT NULL,
    user_id    {uuid} NOT NULL UNIQUE REFERENCES users (id) ON DELETE CASCADE,
    created_at {ts} NOT NULL,
    expires_at {ts} NOT NULL,
    -- A ZIP archive, sealed with the user's data key; NULL until it is made.
    archive    {blob}
) {strict};

CREATE INDEX account_exports_by_end ON account_exports (expires_at);
