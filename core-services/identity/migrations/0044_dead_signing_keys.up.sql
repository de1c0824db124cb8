-- Of the kind `signing_key`: which; `subject` is nil then, for keys have no UUID.
ALTER TABLE revocations ADD COLUMN kid TEXT;
