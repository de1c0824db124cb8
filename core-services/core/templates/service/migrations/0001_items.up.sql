CREATE TABLE owners (
    user_id {uuid} PRIMARY KEY NOT NULL,
    items   {int} NOT NULL
) {strict};

CREATE TABLE items (
    id         {uuid} PRIMARY KEY NOT NULL,
    owner_id   {uuid} NOT NULL REFERENCES owners (user_id) ON DELETE CASCADE,
    name       TEXT NOT NULL,
    created_at {ts} NOT NULL,
    UNIQUE (owner_id, name)
) {strict};

CREATE INDEX items_by_owner ON items (owner_id, created_at, id);
