-- number orders users by user_id.
CREATE TABLE users (
  number       INTEGER PRIMARY KEY,
  user_id      TEXT NOT NULL UNIQUE,
  display_name TEXT NOT NULL,
  email        TEXT NOT NULL UNIQUE,
  street       TEXT NOT NULL,
  city         TEXT NOT NULL,
  postal_code  TEXT NOT NULL,
  region_code  TEXT NOT NULL,
  role         INTEGER NOT NULL,
  create_time  INTEGER NOT NULL -- nanoseconds since 1970
) STRICT;
