-- A table and not a column of polls, because MySQL can create a table "if not exists", and so two processes that
-- migrate at one moment, or one that dies in the middle, leave nothing to mend. The two databases stay alike.
CREATE TABLE poll_once (
  poll_id INTEGER NOT NULL PRIMARY KEY,
  once_per TEXT NOT NULL
) STRICT;
