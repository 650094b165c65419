-- Counts of messages, each row written by the one node that it names. `width` says how many
-- seconds a bucket spans: an hour, or a day for old ones.
CREATE TABLE weighbridge_bucket (
    node    text NOT NULL,
    start   bigint NOT NULL,
    width   bigint NOT NULL,
    name    text NOT NULL,
    flavor  text NOT NULL,
    verdict text NOT NULL,
    n       bigint NOT NULL,
    PRIMARY KEY (node, start, width, name, flavor, verdict)
);

CREATE INDEX weighbridge_bucket_by_time ON weighbridge_bucket (start);
