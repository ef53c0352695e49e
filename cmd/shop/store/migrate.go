package store

import (
	"context"
	"database/sql"
	"fmt"
	"io/fs"
	"strconv"
	"strings"
)

// A migration takes the file from the version before it to its own.
type migration struct {
	version int
	name    string
	sql     string
}

// migrate applies all missing migrations, and seeds a new file, in one transaction.
func migrate(ctx context.Context, db *sql.DB, schema Schema) error {
	migrations, err := load(schema.Migrations)
	if err != nil {
		return err
	}
	return inTx(ctx, db, func(tx *sql.Tx) error {
		const table = `CREATE TABLE IF NOT EXISTS schema_version (
			version INTEGER PRIMARY KEY, name TEXT NOT NULL, applied TEXT NOT NULL DEFAULT CURRENT_TIMESTAMP) STRICT`
		if _, err := tx.ExecContext(ctx, table); err != nil {
			return fmt.Errorf("create schema_version: %w", err)
		}
		var present int
		if err := tx.QueryRowContext(ctx, `SELECT coalesce(max(version), 0) FROM schema_version`).Scan(&present); err != nil {
			return fmt.Errorf("read schema_version: %w", err)
		}
		if present > len(migrations) {
			return fmt.Errorf("its schema has version %d, this program knows up to %d", present, len(migrations))
		}
		for _, m := range migrations[present:] {
			if _, err := tx.ExecContext(ctx, m.sql); err != nil {
				return fmt.Errorf("migration %s: %w", m.name, err)
			}
			if _, err := tx.ExecContext(ctx, `INSERT INTO schema_version (version, name) VALUES (?, ?)`, m.version, m.name); err != nil {
				return fmt.Errorf("migration %s: %w", m.name, err)
			}
		}
		if present == 0 && schema.Seed != nil {
			if err := schema.Seed(ctx, tx); err != nil {
				return fmt.Errorf("seed: %w", err)
			}
		}
		return nil
	})
}

// load reads the migrations, which must be numbered from 1 without holes.
func load(files fs.FS) ([]migration, error) {
	names, err := fs.Glob(files, "*.sql")
	if err != nil {
		return nil, fmt.Errorf("list migrations: %w", err)
	}
	migrations := make([]migration, 0, len(names))
	for i, name := range names { // sorted by name
		number, _, _ := strings.Cut(name, "_")
		if version, err := strconv.Atoi(number); err != nil || version != i+1 {
			return nil, fmt.Errorf("migration %s: want number %04d", name, i+1)
		}
		text, err := fs.ReadFile(files, name)
		if err != nil {
			return nil, fmt.Errorf("migration %s: %w", name, err)
		}
		migrations = append(migrations, migration{version: i + 1, name: name, sql: string(text)})
	}
	return migrations, nil
}
