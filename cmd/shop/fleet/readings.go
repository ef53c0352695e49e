package fleet

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"math"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/portico-bff/portico/cmd/shop/caller"
	"github.com/portico-bff/portico/cmd/shop/page"
	"github.com/portico-bff/portico/cmd/shop/refuse"
	"github.com/portico-bff/portico/cmd/shop/store"
	"github.com/portico-bff/portico/cmd/shop/watch"
	fleetv1 "github.com/portico-bff/portico/protos/gen/shop/fleet/v1"
)

// ListReadings implements the service.
func (s *Service) ListReadings(ctx context.Context, req *fleetv1.ListReadingsRequest) (*fleetv1.ListReadingsResponse, error) {
	if _, err := caller.User(ctx); err != nil {
		return nil, err
	}
	from, err := bound("start_time", req.GetStartTime(), math.MinInt64)
	if err != nil {
		return nil, err
	}
	until, err := bound("end_time", req.GetEndTime(), math.MaxInt64)
	if err != nil {
		return nil, err
	}
	lastTime, lastNumber := int64(math.MaxInt64), int64(math.MaxInt64)
	if _, err := page.Keys(req, &lastTime, &lastNumber); err != nil {
		return nil, err
	}
	if err := s.exists(ctx, req.GetBoxId()); err != nil {
		return nil, err
	}
	size := page.Size(req, maxReadings)
	rows, err := s.db.Query(ctx, `SELECT `+readingColumns+` FROM readings
		WHERE box_id = ? AND measure_time >= ? AND measure_time < ? AND (measure_time, number) < (?, ?)
		ORDER BY measure_time DESC, number DESC LIMIT ?`, req.GetBoxId(), from, until, lastTime, lastNumber, size+1)
	found, err := store.Collect(rows, err, scanReading)
	if err != nil {
		return nil, fmt.Errorf("list readings: %w", err)
	}
	reply := &fleetv1.ListReadingsResponse{}
	if len(found) > size {
		found = found[:size]
		last := found[size-1]
		reply.NextPageToken = page.Token(req, store.Nanos(last.reading.GetMeasureTime()), last.number)
	}
	reply.Readings = bare(found)
	return reply, nil
}

// bound reads an optional bound in time.
func bound(field string, t *timestamppb.Timestamp, unset int64) (int64, error) {
	if t == nil {
		return unset, nil
	}
	if !storable(t) {
		return 0, refuse.Invalid(field, "not a time between 1678 and 2262")
	}
	return store.Nanos(t), nil
}

// storable reports whether a time can be told in nanoseconds since 1970.
func storable(t *timestamppb.Timestamp) bool {
	return t.IsValid() && time.Unix(0, math.MinInt64).Before(t.AsTime()) && t.AsTime().Before(time.Unix(0, math.MaxInt64))
}

// BatchGetLatestReadings implements the service. The latest is the one measured last; of
// several at one time, the one that came last.
func (s *Service) BatchGetLatestReadings(ctx context.Context, req *fleetv1.BatchGetLatestReadingsRequest) (*fleetv1.BatchGetLatestReadingsResponse, error) {
	if _, err := caller.User(ctx); err != nil {
		return nil, err
	}
	list, err := store.JSON(req.GetBoxIds())
	if err != nil {
		return nil, err
	}
	rows, err := s.db.Query(ctx, `SELECT `+readingColumns+` FROM json_each(?) AS wanted
		JOIN readings ON number = (SELECT number FROM readings WHERE box_id = wanted.value
			ORDER BY measure_time DESC, number DESC LIMIT 1)
		ORDER BY wanted.key`, list)
	found, err := store.Collect(rows, err, scanReading)
	if err != nil {
		return nil, fmt.Errorf("find latest readings: %w", err)
	}
	return &fleetv1.BatchGetLatestReadingsResponse{Readings: bare(found)}, nil
}

// WatchReadings implements the service. The stream ends when its reader leaves, or with
// UNAVAILABLE when the service stops. A reader that lags far behind loses the oldest
// readings: ListReadings has them.
func (s *Service) WatchReadings(req *fleetv1.WatchReadingsRequest, stream grpc.ServerStreamingServer[fleetv1.Reading]) error {
	ctx := stream.Context()
	if _, err := caller.User(ctx); err != nil {
		return err
	}
	if err := s.exists(ctx, req.GetBoxId()); err != nil {
		return err
	}
	sub, err := s.readings.Subscribe(req.GetBoxId())
	if err != nil {
		return subscribing(err)
	}
	defer sub.Close()
	// The header says that from now on no reading is missed.
	if err := stream.SendHeader(nil); err != nil {
		return err
	}
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-s.readings.Done():
			return refuse.Stopping()
		case reading := <-sub.C():
			if err := stream.Send(reading); err != nil {
				return err
			}
		}
	}
}

// subscribing turns the errors of a hub into ours.
func subscribing(err error) error {
	if errors.Is(err, watch.ErrClosed) {
		return refuse.Stopping()
	}
	return refuse.Exhausted(err.Error())
}

const readingColumns = `number, box_id, dedup_key, measure_time, celsius, battery_percent, sequence, lid_open`

type readingRow struct {
	number  int64
	reading *fleetv1.Reading
}

func scanReading(rows *sql.Rows) (readingRow, error) {
	var number, measured int64
	r := &fleetv1.Reading{}
	err := rows.Scan(&number, &r.BoxId, &r.DedupKey, &measured, &r.Celsius, &r.BatteryPercent, &r.Sequence, &r.LidOpen)
	r.MeasureTime = store.Timestamp(measured)
	return readingRow{number: number, reading: r}, err
}

func bare(rows []readingRow) []*fleetv1.Reading {
	all := make([]*fleetv1.Reading, 0, len(rows))
	for _, r := range rows {
		all = append(all, r.reading)
	}
	return all
}
