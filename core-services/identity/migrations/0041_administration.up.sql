-- Kept out by an administrator since then.
ALTER TABLE users ADD COLUMN suspended_at {ts};
-- Everything of the account goes then: its owner closed it.
ALTER TABLE users ADD COLUMN delete_at {ts};

CREATE INDEX users_by_deletion ON users (delete_at) WHERE delete_at IS NOT NULL;

-- Beside `user`, which everyone has.
CREATE TABLE role_grants (
    user_id    {uuid} NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    role       TEXT NOT NULL,
    granted_at {ts} NOT NULL,
    PRIMARY KEY (user_id, role)
) {strict};

CREATE INDEX role_grants_by_role ON role_grants (role);
