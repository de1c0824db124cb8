DROP TABLE revocations;
DROP TABLE api_keys;
