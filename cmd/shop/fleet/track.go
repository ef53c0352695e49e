package fleet

import (
	"errors"
	"fmt"
	"io"
	"math"

	"google.golang.org/grpc"

	"github.com/portico-bff/portico/cmd/shop/caller"
	"github.com/portico-bff/portico/cmd/shop/refuse"
	fleetv1 "github.com/portico-bff/portico/protos/gen/shop/fleet/v1"
)

// earthRadius is the mean radius of the earth in metres.
const earthRadius = 6_371_008.8

// nearDepot is how close to the depot a box has arrived, in metres.
const nearDepot = 50

// Track implements the service: it measures the way of one box, named by the stream's
// first message, and points to the depot. It stores nothing.
func (s *Service) Track(stream grpc.BidiStreamingServer[fleetv1.TrackRequest, fleetv1.TrackResponse]) error {
	ctx := stream.Context()
	if _, err := caller.User(ctx); err != nil {
		return err
	}
	var (
		box   string
		reply = &fleetv1.TrackResponse{}
		last  *fleetv1.Position
	)
	for {
		req, err := s.next(stream)
		switch {
		case errors.Is(err, io.EOF):
			return nil
		case err != nil:
			return err
		case box == "":
			if req.GetBoxId() == "" {
				return refuse.Invalid("box_id", "the first message must name the box")
			}
			if err := s.exists(ctx, req.GetBoxId()); err != nil {
				return err
			}
			box = req.GetBoxId()
		case req.GetBoxId() != "" && req.GetBoxId() != box:
			return refuse.Invalid("box_id", "a stream follows one box: "+box)
		}
		if last != nil {
			reply.Metres += metres(last, req.GetPosition())
		}
		last = req.GetPosition()
		reply.Received++
		reply.Advice = advice(last)
		if err := stream.Send(reply); err != nil {
			return err
		}
	}
}

// next receives a message, unless the service stops first. The goroutine ends with the
// stream, which ends when the handler returns.
func (s *Service) next(stream grpc.BidiStreamingServer[fleetv1.TrackRequest, fleetv1.TrackResponse]) (*fleetv1.TrackRequest, error) {
	type result struct {
		req *fleetv1.TrackRequest
		err error
	}
	received := make(chan result, 1)
	go func() {
		req, err := stream.Recv()
		received <- result{req, err}
	}()
	select {
	case r := <-received:
		return r.req, r.err
	case <-s.readings.Done():
		return nil, refuse.Stopping()
	}
}

// metres returns the distance of two places along a great circle (haversine formula).
func metres(a, b *fleetv1.Position) float64 {
	rad := func(degrees float64) float64 { return degrees * math.Pi / 180 }
	lat, lon := rad(b.GetLatitude()-a.GetLatitude()), rad(b.GetLongitude()-a.GetLongitude())
	h := math.Pow(math.Sin(lat/2), 2) +
		math.Cos(rad(a.GetLatitude()))*math.Cos(rad(b.GetLatitude()))*math.Pow(math.Sin(lon/2), 2)
	return 2 * earthRadius * math.Asin(math.Sqrt(min(h, 1)))
}

// advice points from a place to the depot, at Zurich main station.
func advice(from *fleetv1.Position) string {
	depot := &fleetv1.Position{Latitude: 47.3779, Longitude: 8.5403}
	away := metres(from, depot)
	if away < nearDepot {
		return "You have arrived at the depot."
	}
	points := []string{"north", "north-east", "east", "south-east", "south", "south-west", "west", "north-west"}
	north := depot.GetLatitude() - from.GetLatitude()
	east := (depot.GetLongitude() - from.GetLongitude()) * math.Cos(depot.GetLatitude()*math.Pi/180)
	eighth := int(math.Round(math.Atan2(east, north)/(math.Pi/4)+8)) % len(points)
	return fmt.Sprintf("The depot is %.0f m to the %s.", away, points[eighth])
}
