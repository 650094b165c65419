-- Counts of messages in time buckets; `width` says how many seconds a bucket spans.
CREATE TABLE bucket (
    start   INTEGER NOT NULL,
    width   INTEGER NOT NULL,
    name    TEXT NOT NULL,
    flavor  TEXT NOT NULL,
    verdict TEXT NOT NULL,
    n       INTEGER NOT NULL,
    PRIMARY KEY (start, width, name, flavor, verdict)
) STRICT, WITHOUT ROWID;

-- Messages that were counted, by the server's own name for them: a second report of one counts
-- nothing.
CREATE TABLE message (
    id TEXT NOT NULL PRIMARY KEY,
    at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE INDEX message_by_time ON message (at);
