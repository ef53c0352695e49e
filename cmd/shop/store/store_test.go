package store_test

import (
	"context"
	"database/sql"
	"errors"
	"io/fs"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/fstest"

	"github.com/google/go-cmp/cmp"

	"github.com/portico-bff/portico/cmd/shop/store"
)

var first = fstest.MapFS{
	"0001_init.sql": {Data: []byte(`CREATE TABLE fruit (name TEXT PRIMARY KEY) STRICT;`)},
}

func seeded(migrations fs.FS, fruits ...string) store.Schema {
	return store.Schema{Migrations: migrations, Seed: func(ctx context.Context, tx *sql.Tx) error {
		for _, f := range fruits {
			if _, err := tx.ExecContext(ctx, `INSERT INTO fruit (name) VALUES (?)`, f); err != nil {
				return err
			}
		}
		return nil
	}}
}

func open(t *testing.T, path string, schema store.Schema) *store.DB {
	t.Helper()
	db, err := store.Open(t.Context(), path, schema)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	return db
}

func fruits(t *testing.T, db *store.DB) []string {
	t.Helper()
	rows, err := db.Query(t.Context(), `SELECT name FROM fruit ORDER BY name`)
	names, err := store.Collect(rows, err, func(r *sql.Rows) (name string, err error) { return name, r.Scan(&name) })
	if err != nil {
		t.Fatal(err)
	}
	return names
}

func TestReopenKeepsRowsAndMigrates(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "a folder", "fruit?.db") // odd names are names
	db := open(t, path, seeded(first, "apple"))
	err := db.Write(t.Context(), func(tx *sql.Tx) error {
		_, err := tx.ExecContext(t.Context(), `INSERT INTO fruit VALUES ('pear')`)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}

	second := fstest.MapFS{
		"0001_init.sql":  first["0001_init.sql"],
		"0002_plums.sql": {Data: []byte(`INSERT INTO fruit VALUES ('plum'); INSERT INTO fruit VALUES ('quince');`)},
	}
	db = open(t, path, seeded(second, "must not be seeded twice"))
	if diff := cmp.Diff([]string{"apple", "pear", "plum", "quince"}, fruits(t, db)); diff != "" {
		t.Error(diff)
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}

	_, err = store.Open(t.Context(), path, seeded(first))
	if err == nil || !strings.Contains(err.Error(), "version 2") {
		t.Errorf("a newer file opened with %v", err)
	}
}

func TestFailedFirstStartLeavesNothing(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "fruit.db")
	if _, err := store.Open(t.Context(), path, seeded(first, "apple", "apple")); err == nil {
		t.Fatal("a seed that violates a key was accepted")
	}
	db := open(t, path, seeded(first, "cherry"))
	if diff := cmp.Diff([]string{"cherry"}, fruits(t, db)); diff != "" {
		t.Error(diff)
	}
}

func TestMigrationsMustBeNumbered(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"0002_late.sql", "init.sql", "1x_odd.sql"} {
		_, err := store.Open(t.Context(), filepath.Join(t.TempDir(), "x.db"),
			store.Schema{Migrations: fstest.MapFS{name: {Data: []byte(`SELECT 1`)}}})
		if err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("%s: got %v", name, err)
		}
	}
}

func TestWritersQueueAndRollBack(t *testing.T) {
	t.Parallel()
	db := open(t, filepath.Join(t.TempDir(), "fruit.db"), store.Schema{Migrations: fstest.MapFS{
		"0001_init.sql": {Data: []byte(`CREATE TABLE n (v INTEGER) STRICT; INSERT INTO n VALUES (0);`)},
	}})
	boom := errors.New("boom")
	var wg sync.WaitGroup
	for i := range 20 {
		wg.Go(func() {
			err := db.Write(t.Context(), func(tx *sql.Tx) error {
				var v int
				if err := tx.QueryRowContext(t.Context(), `SELECT v FROM n`).Scan(&v); err != nil {
					return err
				}
				if _, err := tx.ExecContext(t.Context(), `UPDATE n SET v = ?`, v+1); err != nil {
					return err
				}
				if i%2 == 1 {
					return boom
				}
				return nil
			})
			if err != nil && !errors.Is(err, boom) {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	var v int
	if err := db.QueryRow(t.Context(), `SELECT v FROM n`).Scan(&v); err != nil || v != 10 {
		t.Errorf("got %d (%v), want 10: ten of twenty were rolled back", v, err)
	}
	if _, err := db.Query(t.Context(), `DELETE FROM n`); err == nil {
		t.Error("a reader wrote")
	}
}
