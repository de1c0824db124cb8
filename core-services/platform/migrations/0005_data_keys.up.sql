-- One data key for each subject (a user; the nil UUID is the service itself),
-- wrapped by a key of the key ring.
CREATE TABLE data_keys (
    subject     {uuid} PRIMARY KEY NOT NULL,
    -- NULL once it was destroyed; the row stays, so that no new key takes its place.
    wrapped     {blob},
    -- The key of the ring that wrapped it.
    kek_id      TEXT NOT NULL,
    created_at  {ts} NOT NULL,
    shredded_at {ts}
) {strict};

CREATE INDEX data_keys_by_kek ON data_keys (kek_id, subject);
