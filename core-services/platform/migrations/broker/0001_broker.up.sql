-- Held while a batch is published (shared) and while a consumer is added (alone): else one that
-- comes while a publisher commits would find the event neither in the log nor delivered.
CREATE TABLE bus_gate (
    id {int} PRIMARY KEY NOT NULL
) {strict};
INSERT INTO bus_gate (id) VALUES (1);

CREATE TABLE bus_log (
    seq          {serial},
    event_id     {uuid} NOT NULL UNIQUE,
    type         TEXT NOT NULL,
    published_at {ts} NOT NULL,
    body         {blob} NOT NULL
) {strict};
CREATE INDEX bus_log_published_at ON bus_log (published_at);
CREATE INDEX bus_log_type ON bus_log (type, seq);

CREATE TABLE bus_subscriptions (
    consumer TEXT NOT NULL,
    type     TEXT NOT NULL,
    PRIMARY KEY (consumer, type)
) {strict};
CREATE INDEX bus_subscriptions_type ON bus_subscriptions (type);

-- One row for each consumer that still has to see the event. Not "the last number seen": on
-- PostgreSQL numbers become visible out of order, and such a reader skips late commits.
CREATE TABLE bus_deliveries (
    consumer   TEXT NOT NULL,
    seq        {int} NOT NULL REFERENCES bus_log (seq) ON DELETE CASCADE,
    deliveries {int} NOT NULL,
    -- From then on a consumer may take it: the end of a lease, or of a wait after a failure.
    free_at    {ts} NOT NULL,
    lease      {uuid},
    PRIMARY KEY (consumer, seq)
) {strict};
CREATE INDEX bus_deliveries_seq ON bus_deliveries (seq);
CREATE INDEX bus_deliveries_lease ON bus_deliveries (lease) WHERE lease IS NOT NULL;
