DROP TABLE login_attempts;
DROP TABLE verification_codes;
DROP TABLE preferences;
DROP TABLE passwords;
DROP TABLE contacts;
DROP TABLE users;
