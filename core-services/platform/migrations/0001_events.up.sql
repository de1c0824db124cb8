-- Written by business transactions, emptied by the relay.
CREATE TABLE outbox (
    seq        {serial},
    event_id   {uuid} NOT NULL UNIQUE,
    type       TEXT NOT NULL,
    created_at {ts} NOT NULL,
    -- From then on a relay may take it.
    free_at    {ts} NOT NULL,
    -- The claim of the relay that has it now.
    lease      {uuid},
    body       {blob} NOT NULL
) {strict};
CREATE INDEX outbox_lease ON outbox (lease) WHERE lease IS NOT NULL;

-- What each consumer of this service did with each event.
CREATE TABLE inbox (
    consumer   TEXT NOT NULL,
    event_id   {uuid} NOT NULL,
    -- Tries that were written down; most events need one, which is not.
    tries      {int} NOT NULL,
    -- When its effect was committed, in the same transaction.
    handled_at {ts},
    seen_at    {ts} NOT NULL,
    PRIMARY KEY (consumer, event_id)
) {strict};
CREATE INDEX inbox_seen_at ON inbox (seen_at);

CREATE TABLE dead_letters (
    seq       {serial},
    consumer  TEXT NOT NULL,
    event_id  {uuid} NOT NULL,
    type      TEXT NOT NULL,
    tries     {int} NOT NULL,
    -- permanent, exhausted
    reason    TEXT NOT NULL,
    error     TEXT NOT NULL,
    died_at   {ts} NOT NULL,
    -- Set by an operator's replay: from then on the consumer tries it again.
    replay_at {ts},
    body      {blob} NOT NULL,
    UNIQUE (consumer, event_id)
) {strict};
CREATE INDEX dead_letters_replay ON dead_letters (consumer, replay_at) WHERE replay_at IS NOT NULL;
