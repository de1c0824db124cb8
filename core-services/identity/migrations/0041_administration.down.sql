DROP TABLE role_grants;
DROP INDEX users_by_deletion;
ALTER TABLE users DROP COLUMN delete_at;
ALTER TABLE users DROP COLUMN suspended_at;
