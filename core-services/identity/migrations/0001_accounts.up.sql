-- Personal data is sealed with its user's data key; what has to be found by value
-- has a blind index (a keyed hash) beside it.
CREATE TABLE users (
    id           {uuid} PRIMARY KEY NOT NULL,
    -- Made at registration, chosen later; public.
    handle       TEXT NOT NULL UNIQUE,
    name         {blob} NOT NULL,
    -- Public.
    display_name TEXT NOT NULL,
    created_at   {ts} NOT NULL,
    updated_at   {ts} NOT NULL,
    -- Counts the changes of what the profile shows; the entity tag.
    version      {int} NOT NULL
) {strict};

-- One address and one number for each user.
CREATE TABLE contacts (
    user_id     {uuid} NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    -- `email` or `phone`.
    kind        TEXT NOT NULL,
    value       {blob} NOT NULL,
    value_index {blob} NOT NULL,
    -- When the owner proved to receive what is sent there.
    verified_at {ts},
    PRIMARY KEY (user_id, kind)
) {strict};

-- One address, one account. A number that nobody has proved keeps it from no one.
CREATE UNIQUE INDEX contacts_by_value ON contacts (kind, value_index)
    WHERE kind = 'email' OR verified_at IS NOT NULL;

CREATE INDEX contacts_claimed ON contacts (kind, value_index);

CREATE TABLE passwords (
    user_id    {uuid} PRIMARY KEY NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    -- PHC string: algorithm, parameters, salt, hash. Imported ones: bcrypt's own form.
    phc        TEXT NOT NULL,
    changed_at {ts} NOT NULL
) {strict};

CREATE TABLE preferences (
    user_id    {uuid} PRIMARY KEY NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    data       {json} NOT NULL,
    version    {int} NOT NULL,
    updated_at {ts} NOT NULL
) {strict};

-- Codes sent to prove a contact or to reset a password. A row without a user stands for
-- an address nobody has: asking for it costs the same and is limited in the same way.
CREATE TABLE verification_codes (
    id            {uuid} PRIMARY KEY NOT NULL,
    user_id       {uuid} REFERENCES users (id) ON DELETE CASCADE,
    -- `verify`, `change`, `reset`, `second_factor` or `notice`.
    purpose       TEXT NOT NULL,
    kind          TEXT NOT NULL,
    contact_index {blob} NOT NULL,
    -- The new address or number of a `change`.
    value         {blob},
    -- A keyed hash: six digits behind a plain one would be found by trying them all.
    code_hash     {blob} NOT NULL,
    attempts      {int} NOT NULL,
    created_at    {ts} NOT NULL,
    expires_at    {ts} NOT NULL,
    used_at       {ts}
) {strict};

CREATE INDEX verification_codes_by_contact ON verification_codes (contact_index, created_at);
CREATE INDEX verification_codes_by_user ON verification_codes (user_id);

-- Failed logins, by account (known or not) and by network.
CREATE TABLE login_attempts (
    -- `account` or `network`.
    scope        TEXT NOT NULL,
    subject      {blob} NOT NULL,
    failures     {int} NOT NULL,
    last_at      {ts} NOT NULL,
    locked_until {ts} NOT NULL,
    PRIMARY KEY (scope, subject)
) {strict};

CREATE INDEX login_attempts_by_age ON login_attempts (last_at);
