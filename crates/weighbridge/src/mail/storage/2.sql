-- What outcomes say of hosts: weights as they were at `at`, and until when the host is throttled.
-- Times are microseconds since 1970.
CREATE TABLE host (
    host     TEXT NOT NULL PRIMARY KEY,
    accepted REAL NOT NULL,
    rejected REAL NOT NULL,
    at       INTEGER NOT NULL,
    until    INTEGER
) STRICT, WITHOUT ROWID;

CREATE INDEX host_by_time ON host (at);

-- Buckets whose counts have changed since they were last sent to a common database: hours, with
-- their minutes, and days. `changes` counts, so that a change during the sending is noticed.
CREATE TABLE unsent (
    start   INTEGER NOT NULL,
    width   INTEGER NOT NULL,
    changes INTEGER NOT NULL,
    PRIMARY KEY (start, width)
) STRICT, WITHOUT ROWID;

INSERT INTO unsent
    SELECT DISTINCT start / 3600 * 3600, 3600, 1 FROM bucket WHERE width <= 3600;
INSERT INTO unsent
    SELECT DISTINCT start, width, 1 FROM bucket WHERE width > 3600;
