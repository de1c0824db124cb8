DROP TABLE tickets;
DROP TABLE recovery_codes;
DROP TABLE credentials;
