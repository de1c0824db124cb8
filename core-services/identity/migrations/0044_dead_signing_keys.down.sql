DELETE FROM revocations WHERE kid IS NOT NULL;
ALTER TABLE revocations DROP COLUMN kid;
