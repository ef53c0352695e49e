package fleet

import (
	"context"
	"crypto/sha256"
	"database/sql"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"
	"time"

	"buf.build/go/protovalidate"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/portico-bff/portico/cmd/shop/caller"
	"github.com/portico-bff/portico/cmd/shop/store"
	fleetv1 "github.com/portico-bff/portico/protos/gen/shop/fleet/v1"
)

// maxAhead is how far a box's clock may run ahead: a reading from the far future would be
// the box's latest for good.
const maxAhead = 24 * time.Hour

// IngestReadings implements the service. Its batch is stored in one transaction: either
// the call answers for each reading, or none was stored and all of it may be sent again.
func (s *Service) IngestReadings(ctx context.Context, req *fleetv1.IngestReadingsRequest) (*fleetv1.IngestReadingsResponse, error) {
	if _, err := caller.With(ctx, caller.RoleIoT, caller.RoleAdmin); err != nil {
		return nil, err
	}
	results := make([]*fleetv1.IngestResult, len(req.GetReadings()))
	good := make([]*fleetv1.Reading, len(req.GetReadings())) // nil where refused
	arrival := timestamppb.Now()
	for i, r := range req.GetReadings() {
		reason, err := s.judge(r, arrival.AsTime())
		if err != nil {
			return nil, err
		}
		if reason != "" {
			results[i] = refused(reason)
			continue
		}
		if good[i], err = complete(r, arrival); err != nil {
			return nil, err
		}
	}
	var stored []*fleetv1.Reading
	err := s.db.Write(ctx, func(tx *sql.Tx) error {
		known, err := knownBoxes(ctx, tx, good)
		if err != nil {
			return err
		}
		insert, err := tx.PrepareContext(ctx, insertReading+` ON CONFLICT (box_id, dedup_key) DO NOTHING`)
		if err != nil {
			return err
		}
		defer insert.Close()
		for i, r := range good {
			if r == nil {
				continue
			}
			if !known[r.GetBoxId()] {
				results[i] = refused("box_id: no such box")
				continue
			}
			fresh, err := add(ctx, insert, r)
			if err != nil {
				return err
			}
			if !fresh {
				results[i] = &fleetv1.IngestResult{State: fleetv1.IngestState_INGEST_STATE_DUPLICATE}
				continue
			}
			results[i] = &fleetv1.IngestResult{State: fleetv1.IngestState_INGEST_STATE_STORED}
			stored = append(stored, r)
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("ingest: %w", err)
	}
	for _, r := range stored {
		s.readings.Publish(r.GetBoxId(), r)
	}
	return &fleetv1.IngestReadingsResponse{Results: results}, nil
}

func refused(reason string) *fleetv1.IngestResult {
	return &fleetv1.IngestResult{State: fleetv1.IngestState_INGEST_STATE_REFUSED, Reason: reason}
}

// judge says why a reading is refused for good, if it is.
func (s *Service) judge(r *fleetv1.Reading, arrival time.Time) (reason string, err error) {
	if err := s.validator.Validate(r); err != nil {
		var invalid *protovalidate.ValidationError
		if !errors.As(err, &invalid) {
			return "", fmt.Errorf("validate reading: %w", err)
		}
		var reasons []string
		for _, v := range invalid.Violations {
			reasons = append(reasons, protovalidate.FieldPathString(v.Proto.GetField())+": "+v.Proto.GetMessage())
		}
		return strings.Join(reasons, "; "), nil
	}
	switch t := r.GetMeasureTime(); {
	case t == nil:
		return "", nil
	case !storable(t):
		return "measure_time: not a time between 1678 and 2262", nil
	case t.AsTime().After(arrival.Add(maxAhead)):
		return "measure_time: more than a day ahead", nil
	default:
		return "", nil
	}
}

// complete fills in what the box left out: its key, then its time, so that a reading
// without either is the same reading when it comes again.
func complete(r *fleetv1.Reading, arrival *timestamppb.Timestamp) (*fleetv1.Reading, error) {
	if r.GetDedupKey() == "" {
		text, err := proto.MarshalOptions{Deterministic: true}.Marshal(r)
		if err != nil {
			return nil, fmt.Errorf("make a dedup key: %w", err)
		}
		sum := sha256.Sum256(text)
		r.DedupKey = "sha256:" + hex.EncodeToString(sum[:])
	}
	if r.GetMeasureTime() == nil {
		r.MeasureTime = arrival
	}
	return r, nil
}

// knownBoxes returns which of the readings' boxes exist.
func knownBoxes(ctx context.Context, tx *sql.Tx, readings []*fleetv1.Reading) (map[string]bool, error) {
	var ids []string
	known := map[string]bool{}
	for _, r := range readings {
		if _, seen := known[r.GetBoxId()]; r != nil && !seen {
			known[r.GetBoxId()] = false
			ids = append(ids, r.GetBoxId())
		}
	}
	list, err := store.JSON(ids)
	if err != nil {
		return nil, err
	}
	rows, err := tx.QueryContext(ctx, `SELECT box_id FROM boxes WHERE box_id IN (SELECT value FROM json_each(?))`, list)
	found, err := store.Collect(rows, err, func(r *sql.Rows) (id string, err error) { return id, r.Scan(&id) })
	for _, id := range found {
		known[id] = true
	}
	return known, err
}

const insertReading = `INSERT INTO readings (box_id, dedup_key, measure_time, celsius, battery_percent, sequence, lid_open)
	VALUES (?, ?, ?, ?, ?, ?, ?)`

// add inserts a reading and says whether it is new.
func add(ctx context.Context, insert *sql.Stmt, r *fleetv1.Reading) (bool, error) {
	result, err := insert.ExecContext(ctx, r.GetBoxId(), r.GetDedupKey(), store.Nanos(r.GetMeasureTime()),
		r.GetCelsius(), r.GetBatteryPercent(), r.GetSequence(), r.GetLidOpen())
	if err != nil {
		return false, fmt.Errorf("insert reading: %w", err)
	}
	n, err := result.RowsAffected()
	return n == 1, err
}
