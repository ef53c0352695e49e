package fleet

import (
	"context"
	"database/sql"
	"fmt"
	"time"

	"github.com/portico-bff/portico/cmd/shop/seed"
)

// fill puts the demo's boxes, readings and commands into a new file.
func fill(ctx context.Context, tx *sql.Tx) error {
	now := time.Now()
	for _, b := range seed.Boxes() {
		_, err := tx.ExecContext(ctx, `INSERT INTO boxes (box_id, name, max_celsius, latitude, longitude, order_id) VALUES (?, ?, ?, ?, ?, ?)`,
			b.GetBoxId(), b.GetName(), b.GetMaxCelsius(), b.GetPosition().GetLatitude(), b.GetPosition().GetLongitude(), b.GetOrderId())
		if err != nil {
			return fmt.Errorf("box %s: %w", b.GetBoxId(), err)
		}
	}
	insert, err := tx.PrepareContext(ctx, insertReading)
	if err != nil {
		return err
	}
	defer insert.Close()
	for _, r := range seed.Readings(now) {
		if _, err := add(ctx, insert, r); err != nil {
			return err
		}
	}
	for _, c := range seed.Commands(now) {
		if _, err := tx.ExecContext(ctx, insertCommand, commandValues(c)...); err != nil {
			return fmt.Errorf("command %s: %w", c.GetCommandId(), err)
		}
	}
	return nil
}
