-- number orders products by product_id; folded is the title in lower case, for searching.
CREATE TABLE products (
  number        INTEGER PRIMARY KEY,
  product_id    TEXT NOT NULL UNIQUE,
  title         TEXT NOT NULL,
  folded        TEXT NOT NULL,
  description   TEXT NOT NULL,
  currency_code TEXT NOT NULL,
  minor_units   INTEGER NOT NULL CHECK (minor_units >= 0),
  category      INTEGER NOT NULL,
  tags          TEXT NOT NULL CHECK (json_valid(tags)),
  stock         INTEGER NOT NULL CHECK (stock >= 0),
  max_celsius   REAL,
  update_time   INTEGER NOT NULL -- nanoseconds since 1970
) STRICT;
