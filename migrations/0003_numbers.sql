-- The numbers of a session's events, kept when it is completed, so that a resend is known for one after delivery: JSON.
ALTER TABLE sessions ADD COLUMN numbers TEXT;
