-- Each row proves itself: a checksum over its other columns, kept by temporary triggers of the connection. NULL: not
-- yet made. A later migration that changes rows, or adds a column with a default, sets it to NULL.
ALTER TABLE boots    ADD COLUMN row_sum INTEGER;
ALTER TABLE anchors  ADD COLUMN row_sum INTEGER;
ALTER TABLE sessions ADD COLUMN row_sum INTEGER;
ALTER TABLE attempts ADD COLUMN row_sum INTEGER;
ALTER TABLE losses   ADD COLUMN row_sum INTEGER;
ALTER TABLE counters ADD COLUMN row_sum INTEGER;
ALTER TABLE settings ADD COLUMN row_sum INTEGER;

-- `recorded`: events of sessions that are no longer open = delivered + stored in these sessions + losses.
INSERT INTO counters (owner, name, value)
SELECT owner, 'recorded', sum(events) FROM (
    SELECT owner, value AS events FROM counters
    WHERE name IN ('delivered', 'evicted', 'expired', 'purged', 'discarded', 'corrupt')
    UNION ALL
    SELECT owner, coalesce(events, 0) FROM sessions WHERE state IN ('completed', 'quarantined')
) GROUP BY owner;
