CREATE TABLE payments (
  number        INTEGER PRIMARY KEY AUTOINCREMENT,
  payment_id    TEXT GENERATED ALWAYS AS (printf('pay-%07d', number)) VIRTUAL,
  order_id      TEXT NOT NULL UNIQUE,
  customer_id   TEXT NOT NULL,
  currency_code TEXT NOT NULL,
  minor_units   INTEGER NOT NULL CHECK (minor_units > 0),
  state         INTEGER NOT NULL,
  create_time   INTEGER NOT NULL -- nanoseconds since 1970
) STRICT;
CREATE UNIQUE INDEX payments_by_id ON payments (payment_id);
