-- What the times of a completed session go by: 'given' (the player's clock), 'clock' (ours), 'guess'. NULL: to be looked up
-- in its events.
ALTER TABLE sessions ADD COLUMN told_by TEXT;
