// Package fleet is the demo's fleet service: cold boxes, what they measure, and what they
// are told. Everybody with a token sees the boxes; readings come from the IoT door alone;
// commands are an admin's business. [Open] makes it, [Run] runs it as a program.
package fleet

import (
	"context"
	"database/sql"
	"embed"
	"fmt"
	"io/fs"

	"buf.build/go/protovalidate"

	"github.com/portico-bff/portico/cmd/shop/caller"
	"github.com/portico-bff/portico/cmd/shop/page"
	"github.com/portico-bff/portico/cmd/shop/refuse"
	"github.com/portico-bff/portico/cmd/shop/store"
	"github.com/portico-bff/portico/cmd/shop/watch"
	fleetv1 "github.com/portico-bff/portico/protos/gen/shop/fleet/v1"
)

const (
	maxPage     = 100
	maxReadings = 1000
	// readingBuffer is how many readings a slow watcher may lag behind.
	readingBuffer = 256
)

//go:embed migrations/*.sql
var migrations embed.FS

// Service implements shop.fleet.v1.FleetService. It is safe for concurrent use. Close it.
type Service struct {
	fleetv1.UnimplementedFleetServiceServer
	db        *store.DB
	validator protovalidate.Validator
	readings  *watch.Hub[*fleetv1.Reading] // by box_id
	commands  *watch.Hub[struct{}]         // says that there are new ones
}

var _ fleetv1.FleetServiceServer = (*Service)(nil)

// Open opens the fleet in its file; a new file gets the demo's boxes, and a week of
// readings that ends now.
func Open(ctx context.Context, path string, validator protovalidate.Validator) (*Service, error) {
	files, err := fs.Sub(migrations, "migrations")
	if err != nil {
		return nil, err
	}
	db, err := store.Open(ctx, path, store.Schema{Migrations: files, Seed: fill})
	if err != nil {
		return nil, err
	}
	return &Service{
		db: db, validator: validator,
		readings: watch.NewHub[*fleetv1.Reading](readingBuffer),
		commands: watch.NewHub[struct{}](1),
	}, nil
}

// Stop ends all streams, so that a drain need not wait for their readers.
func (s *Service) Stop() {
	s.readings.Close()
	s.commands.Close()
}

// Close stops the service and closes the file.
func (s *Service) Close() error {
	s.Stop()
	return s.db.Close()
}

// GetBox implements the service.
func (s *Service) GetBox(ctx context.Context, req *fleetv1.GetBoxRequest) (*fleetv1.Box, error) {
	if _, err := caller.User(ctx); err != nil {
		return nil, err
	}
	found, err := s.find(ctx, []string{req.GetBoxId()})
	if err != nil {
		return nil, err
	}
	if len(found) == 0 {
		return nil, refuse.NotFound("Box", req.GetBoxId())
	}
	return found[0], nil
}

// BatchGetBoxes implements the service.
func (s *Service) BatchGetBoxes(ctx context.Context, req *fleetv1.BatchGetBoxesRequest) (*fleetv1.BatchGetBoxesResponse, error) {
	if _, err := caller.User(ctx); err != nil {
		return nil, err
	}
	found, err := s.find(ctx, req.GetBoxIds())
	if err != nil {
		return nil, err
	}
	return &fleetv1.BatchGetBoxesResponse{Boxes: found}, nil
}

// ListBoxes implements the service.
func (s *Service) ListBoxes(ctx context.Context, req *fleetv1.ListBoxesRequest) (*fleetv1.ListBoxesResponse, error) {
	if _, err := caller.User(ctx); err != nil {
		return nil, err
	}
	var after int64
	if _, err := page.Keys(req, &after); err != nil {
		return nil, err
	}
	size := page.Size(req, maxPage)
	rows, err := s.db.Query(ctx, `SELECT `+boxColumns+` FROM boxes WHERE number > ? ORDER BY number LIMIT ?`, after, size+1)
	found, err := store.Collect(rows, err, scanBox)
	if err != nil {
		return nil, fmt.Errorf("list boxes: %w", err)
	}
	reply := &fleetv1.ListBoxesResponse{}
	if len(found) > size {
		found = found[:size]
		reply.NextPageToken = page.Token(req, found[size-1].number)
	}
	reply.Boxes = boxes(found)
	return reply, nil
}

// exists refuses a box that is not there.
func (s *Service) exists(ctx context.Context, id string) error {
	found, err := s.find(ctx, []string{id})
	if err == nil && len(found) == 0 {
		err = refuse.NotFound("Box", id)
	}
	return err
}

// find returns the boxes that exist, in the order of the ids.
func (s *Service) find(ctx context.Context, ids []string) ([]*fleetv1.Box, error) {
	list, err := store.JSON(ids)
	if err != nil {
		return nil, err
	}
	rows, err := s.db.Query(ctx, `SELECT `+boxColumns+` FROM json_each(?) AS wanted
		JOIN boxes ON box_id = wanted.value ORDER BY wanted.key`, list)
	found, err := store.Collect(rows, err, scanBox)
	if err != nil {
		return nil, fmt.Errorf("find boxes: %w", err)
	}
	return boxes(found), nil
}

const boxColumns = `number, box_id, name, max_celsius, latitude, longitude, order_id`

type boxRow struct {
	number int64
	box    *fleetv1.Box
}

func scanBox(rows *sql.Rows) (boxRow, error) {
	var number int64
	b := &fleetv1.Box{Position: &fleetv1.Position{}}
	err := rows.Scan(&number, &b.BoxId, &b.Name, &b.MaxCelsius, &b.Position.Latitude, &b.Position.Longitude, &b.OrderId)
	return boxRow{number: number, box: b}, err
}

func boxes(rows []boxRow) []*fleetv1.Box {
	all := make([]*fleetv1.Box, 0, len(rows))
	for _, r := range rows {
		all = append(all, r.box)
	}
	return all
}
