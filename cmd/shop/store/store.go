// Package store opens the SQLite file of one service. [Open] brings the schema up to date
// and fills a new file; [DB] then separates the one writer that SQLite allows from the
// many readers that its write-ahead log allows beside it.
//
// It knows no service: migrations and first rows are passed in.
package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"

	_ "modernc.org/sqlite" // registers the "sqlite" driver
)

// readers is how many connections may read at the same time.
const readers = 4

// Schema says what belongs into a file.
type Schema struct {
	// Migrations holds numbered SQL files, "0001_init.sql" and so on, in its root.
	Migrations fs.FS
	// Seed fills a file that did not exist before, in the transaction that creates its
	// tables: a first start either ends with all rows or leaves none. Nil: no rows.
	Seed func(ctx context.Context, tx *sql.Tx) error
}

// DB is one open file. It is safe for concurrent use. Close it.
type DB struct {
	read, write *sql.DB
}

// Open opens the file, creating it and its folder where needed, and applies the
// migrations that it has not seen. A file written by a newer program is refused.
func Open(ctx context.Context, path string, schema Schema) (_ *DB, err error) {
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return nil, fmt.Errorf("open database: %w", err)
	}
	db := &DB{}
	defer func() {
		if err != nil {
			err = errors.Join(fmt.Errorf("open database %s: %w", path, err), db.Close())
		}
	}()
	if db.write, err = sql.Open("sqlite", dsn(path, "_txlock=immediate")); err != nil {
		return nil, err
	}
	db.write.SetMaxOpenConns(1)
	if err := migrate(ctx, db.write, schema); err != nil {
		return nil, err
	}
	if db.read, err = sql.Open("sqlite", dsn(path, "_pragma=query_only(1)")); err != nil {
		return nil, err
	}
	db.read.SetMaxOpenConns(readers)
	db.read.SetMaxIdleConns(readers)
	return db, db.read.PingContext(ctx)
}

// dsn names the file and the settings of each connection. synchronous(FULL) makes a
// commit survive power loss: a reading that was accepted is not lost.
func dsn(path, extra string) string {
	u := url.URL{Scheme: "file", Opaque: (&url.URL{Path: path}).EscapedPath()}
	return u.String() + "?_pragma=busy_timeout(5000)&_pragma=journal_mode(WAL)" +
		"&_pragma=synchronous(FULL)&_pragma=foreign_keys(1)&_dqs=0&" + extra
}

// Query runs a query that only reads.
func (db *DB) Query(ctx context.Context, query string, args ...any) (*sql.Rows, error) {
	return db.read.QueryContext(ctx, query, args...)
}

// QueryRow runs a query that only reads and returns at most one row.
func (db *DB) QueryRow(ctx context.Context, query string, args ...any) *sql.Row {
	return db.read.QueryRowContext(ctx, query, args...)
}

// Write runs change in a transaction of the one writer, and commits if it returns nil.
// Callers queue; a caller whose context ends leaves the queue.
func (db *DB) Write(ctx context.Context, change func(tx *sql.Tx) error) error {
	return inTx(ctx, db.write, change)
}

// Close closes the file. It may be called after a half-finished Open and more than once.
func (db *DB) Close() error {
	var errs []error
	for _, handle := range []*sql.DB{db.read, db.write} {
		if handle != nil {
			errs = append(errs, handle.Close())
		}
	}
	return errors.Join(errs...)
}

func inTx(ctx context.Context, db *sql.DB, change func(tx *sql.Tx) error) error {
	tx, err := db.BeginTx(ctx, nil)
	if err != nil {
		return fmt.Errorf("begin: %w", err)
	}
	if err := change(tx); err != nil {
		if rollback := tx.Rollback(); rollback != nil && !errors.Is(rollback, sql.ErrTxDone) {
			return errors.Join(err, fmt.Errorf("roll back: %w", rollback))
		}
		return err
	}
	if err := tx.Commit(); err != nil {
		return fmt.Errorf("commit: %w", err)
	}
	return nil
}

// Collect reads all rows with scan, and closes them.
func Collect[T any](rows *sql.Rows, err error, scan func(*sql.Rows) (T, error)) ([]T, error) {
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var all []T
	for rows.Next() {
		row, err := scan(rows)
		if err != nil {
			return nil, err
		}
		all = append(all, row)
	}
	return all, rows.Err()
}
