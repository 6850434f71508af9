-- Moments are kept as three numbers: boot (boots.id), milliseconds since that boot, wall clock of then in
-- milliseconds since 1970, right or wrong.

CREATE TABLE boots (
    id            INTEGER PRIMARY KEY,
    boot_id       TEXT    NOT NULL UNIQUE,
    first_boot_ms INTEGER NOT NULL,
    first_wall_ms INTEGER NOT NULL,
    last_boot_ms  INTEGER,                           -- the last moment that is known of it; set when the next one begins
    last_wall_ms  INTEGER
) STRICT;

-- Moments whose wall time is known.
CREATE TABLE anchors (
    id             INTEGER PRIMARY KEY,
    boot           INTEGER NOT NULL REFERENCES boots (id),
    boot_ms        INTEGER NOT NULL,
    wall_ms        INTEGER NOT NULL,
    source         TEXT    NOT NULL CHECK (source IN ('kernel', 'date', 'rtc')),
    uncertainty_ms INTEGER NOT NULL
) STRICT;

CREATE TABLE sessions (
    id                INTEGER PRIMARY KEY AUTOINCREMENT,
    owner             INTEGER NOT NULL,              -- uid of the peer that started it
    key               TEXT    NOT NULL,
    generation        INTEGER NOT NULL DEFAULT 1,    -- 2: key~2, which goes on after key was completed by us
    continues         INTEGER,                       -- sessions.id of the one before
    resumes           INTEGER NOT NULL DEFAULT 0,    -- 1: its start is sent with hasResume true
    state             TEXT    NOT NULL CHECK (state IN ('open', 'completed', 'delivered', 'quarantined')),
    why               TEXT             CHECK (why IN ('end', 'complete', 'idle', 'age', 'boot', 'import')),
    title             TEXT,                          -- for people; erased with the events

    -- frozen when the session starts
    identity_map      TEXT    NOT NULL,
    identity_origin   TEXT    NOT NULL CHECK (identity_origin IN ('player', 'configuration')),
    player_name       TEXT,
    channel           TEXT,
    implementation    TEXT    NOT NULL,              -- {"name", "version", "environment"}
    started_boot      INTEGER NOT NULL REFERENCES boots (id),
    started_boot_ms   INTEGER NOT NULL,
    started_wall_ms   INTEGER NOT NULL,
    first_event       INTEGER NOT NULL,              -- events.id
    checksum          INTEGER NOT NULL,              -- over what is frozen

    -- set when it is completed
    last_event        INTEGER,
    events            INTEGER,
    bytes             INTEGER,
    max_seq           INTEGER,
    completed_boot    INTEGER REFERENCES boots (id),
    completed_boot_ms INTEGER,
    completed_wall_ms INTEGER,
    completed_sum     INTEGER,                       -- over the checksums of all events, in order

    -- the upload
    timestamp_ms      INTEGER,                       -- xdm.timestamp, frozen at the first attempt
    offset_ms         INTEGER,                       -- wall time less boot time, frozen then
    time              TEXT CHECK (time IN ('trusted', 'assumed', 'estimated', 'given')), -- how well it was known
    payload_sum       INTEGER,                       -- of the body sent at the first attempt
    budget            INTEGER,                       -- bytes the first attempt had to fit into, frozen then
    gap_ms            INTEGER,                       -- how pings were thinned: -2 as needed, -1 never, else at least so
    refused_bytes     INTEGER,                       -- of the body that a 413 refused last
    attempts          INTEGER NOT NULL DEFAULT 0,    -- all of them
    answers           INTEGER NOT NULL DEFAULT 0,    -- those that count against a limit
    first_answer_boot INTEGER, first_answer_boot_ms INTEGER, first_answer_wall_ms INTEGER,
    unreached         INTEGER NOT NULL DEFAULT 0,    -- failures in a row that were the network's
    wait_ms           INTEGER NOT NULL DEFAULT 0,    -- until the next attempt, from the moment below
    wait_network      INTEGER NOT NULL DEFAULT 0,    -- 1: a new path ends the wait
    wait_boot         INTEGER, wait_boot_ms INTEGER, wait_wall_ms INTEGER,
    verdict           TEXT,                          -- the last one, as JSON

    -- set when it is delivered or quarantined
    settled_boot      INTEGER REFERENCES boots (id),
    settled_boot_ms   INTEGER,
    settled_wall_ms   INTEGER,
    receipt           TEXT,                          -- JSON

    course            TEXT,                          -- JSON: what was open when we completed it
    warnings          TEXT,                          -- JSON: what is odd about its events

    UNIQUE (owner, key, generation)
) STRICT;

CREATE INDEX sessions_by_state ON sessions (state, id);

-- In order of arrival, so that a commit appends at the right edge; a session knows its first and last row.
CREATE TABLE events (
    id       INTEGER PRIMARY KEY,
    session  INTEGER NOT NULL,
    n        INTEGER NOT NULL,                       -- dense within the session, from 0
    seq      INTEGER NOT NULL,                       -- the player's number, or ours
    type     TEXT    NOT NULL,
    said_ms  INTEGER,                                -- mediaEventTimestamp, when the player gave one
    playhead REAL    NOT NULL,
    synthetic INTEGER NOT NULL DEFAULT 0,            -- 1: ours, made where a session goes on; its seq is negative
    boot     INTEGER NOT NULL,
    boot_ms  INTEGER NOT NULL,
    wall_ms  INTEGER NOT NULL,
    checksum INTEGER NOT NULL,                       -- over all other columns but id and playhead
    body     TEXT    NOT NULL                        -- byte for byte as the player sent it
) STRICT;

CREATE TABLE attempts (
    session         INTEGER NOT NULL REFERENCES sessions (id) ON DELETE CASCADE,
    n               INTEGER NOT NULL,
    started_wall_ms INTEGER NOT NULL,
    ended_wall_ms   INTEGER,                         -- NULL: under way, or cut off with the process
    bytes           INTEGER NOT NULL,
    status          INTEGER,
    verdict         TEXT,
    reason          TEXT,
    detail          TEXT,
    maybe_delivered INTEGER NOT NULL DEFAULT 0,
    PRIMARY KEY (session, n)
) STRICT, WITHOUT ROWID;

CREATE TABLE losses (
    id      INTEGER PRIMARY KEY,
    name    TEXT    NOT NULL CHECK (name IN ('evicted', 'expired', 'purged', 'discarded', 'corrupt')),
    owner   INTEGER NOT NULL,
    key     TEXT,                                    -- NULL after an opt-out
    events  INTEGER NOT NULL,
    detail  TEXT    NOT NULL,
    wall_ms INTEGER NOT NULL
) STRICT;

-- Totals that outlive the rows they were counted from.
CREATE TABLE counters (
    owner INTEGER NOT NULL,
    name  TEXT    NOT NULL,
    value INTEGER NOT NULL,
    PRIMARY KEY (owner, name)
) STRICT, WITHOUT ROWID;

-- Consent, the device's identity, the uploader's pause: single values, as JSON.
CREATE TABLE settings (
    name  TEXT PRIMARY KEY,
    value TEXT NOT NULL
) STRICT, WITHOUT ROWID;
