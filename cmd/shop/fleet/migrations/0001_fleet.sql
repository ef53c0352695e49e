-- number orders boxes by box_id.
CREATE TABLE boxes (
  number      INTEGER PRIMARY KEY,
  box_id      TEXT NOT NULL UNIQUE,
  name        TEXT NOT NULL,
  max_celsius REAL NOT NULL,
  latitude    REAL NOT NULL,
  longitude   REAL NOT NULL,
  order_id    TEXT NOT NULL
) STRICT;

CREATE TABLE readings (
  number          INTEGER PRIMARY KEY AUTOINCREMENT, -- in order of arrival
  box_id          TEXT NOT NULL REFERENCES boxes (box_id),
  dedup_key       TEXT NOT NULL,
  measure_time    INTEGER NOT NULL, -- nanoseconds since 1970
  celsius         REAL NOT NULL,
  battery_percent INTEGER NOT NULL,
  sequence        INTEGER NOT NULL,
  lid_open        INTEGER NOT NULL,
  UNIQUE (box_id, dedup_key)
) STRICT;
CREATE INDEX readings_by_time ON readings (box_id, measure_time, number);

CREATE TABLE commands (
  number      INTEGER PRIMARY KEY AUTOINCREMENT,
  command_id  TEXT GENERATED ALWAYS AS (printf('cmd-%07d', number)) VIRTUAL,
  box_id      TEXT NOT NULL REFERENCES boxes (box_id),
  kind        INTEGER NOT NULL,
  value       REAL NOT NULL,
  create_time INTEGER NOT NULL, -- nanoseconds since 1970
  expire_time INTEGER NOT NULL
) STRICT;
