-- State 0 is an order whose payment is not settled yet; nobody sees it.
CREATE TABLE orders (
  number        INTEGER PRIMARY KEY AUTOINCREMENT,
  order_id      TEXT GENERATED ALWAYS AS (printf('ord-%07d', number)) VIRTUAL,
  customer_id   TEXT NOT NULL,
  state         INTEGER NOT NULL,
  currency_code TEXT NOT NULL,
  minor_units   INTEGER NOT NULL,
  note          TEXT NOT NULL,
  payment_id    TEXT NOT NULL DEFAULT '',
  labels        TEXT NOT NULL CHECK (json_valid(labels)),
  cancel_reason TEXT NOT NULL DEFAULT '',
  create_time   INTEGER NOT NULL, -- nanoseconds since 1970
  update_time   INTEGER NOT NULL
) STRICT;
CREATE UNIQUE INDEX orders_by_id ON orders (order_id);
CREATE INDEX orders_by_customer ON orders (customer_id, number);
CREATE INDEX orders_unsettled ON orders (create_time) WHERE state = 0;

CREATE TABLE order_items (
  order_number INTEGER NOT NULL REFERENCES orders (number) ON DELETE CASCADE,
  position     INTEGER NOT NULL,
  product_id   TEXT NOT NULL,
  quantity     INTEGER NOT NULL CHECK (quantity > 0),
  minor_units  INTEGER NOT NULL,
  PRIMARY KEY (order_number, position)
) STRICT, WITHOUT ROWID;
