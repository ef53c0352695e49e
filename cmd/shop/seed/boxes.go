package seed

import (
	"fmt"
	"math"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	fleetv1 "github.com/portico-bff/portico/protos/gen/shop/fleet/v1"
)

// A week of readings, one every quarter of an hour.
const (
	readingEvery = 15 * time.Minute
	readingCount = int(7 * 24 * time.Hour / readingEvery)
)

// Boxes returns the shop's boxes, ordered by box_id. Each carries one of the orders that
// are on their way.
func Boxes() []*fleetv1.Box {
	type box struct {
		name                string
		max                 float64
		latitude, longitude float64
	}
	boxes := []box{
		{"Polar Bear", 5, 47.3769, 8.5417},
		{"Penguin", 5, 47.3897, 8.5156},
		{"Snow Hare", 5, 47.3606, 8.5507},
		{"Arctic Fox", 4, 47.4108, 8.5441},
		{"Walrus", -18, 47.3713, 8.5103},
		{"Beluga", 7, 47.3848, 8.5743},
	}
	all := make([]*fleetv1.Box, 0, len(boxes))
	for i, b := range boxes {
		all = append(all, &fleetv1.Box{
			BoxId:      BoxID(i + 1),
			Name:       b.name,
			MaxCelsius: b.max,
			Position:   &fleetv1.Position{Latitude: b.latitude, Longitude: b.longitude},
			OrderId:    OrderID(orderCount - 8 - i),
		})
	}
	return all
}

// BoxID returns the id of box n, counted from 1.
func BoxID(n int) string { return fmt.Sprintf("box-%04d", n) }

// Readings returns what the boxes measured in the week before now, by box and then by
// time. Temperatures swing with the day, rise while a lid is open and fall again.
func Readings(now time.Time) []*fleetv1.Reading {
	boxes := Boxes()
	all := make([]*fleetv1.Reading, 0, len(boxes)*readingCount)
	start := now.UTC().Truncate(readingEvery).Add(-time.Duration(readingCount-1) * readingEvery)
	for i, b := range boxes {
		r := random(uint64(100 + i))
		celsius, battery := b.GetMaxCelsius()-2, 100.0
		for n := range readingCount {
			at := start.Add(time.Duration(n) * readingEvery)
			hour := float64(at.Hour()) + float64(at.Minute())/60
			target := b.GetMaxCelsius() - 2 + 0.8*math.Sin((hour-9)/24*2*math.Pi)
			open := hour >= 8 && hour < 20 && r.IntN(12) == 0
			celsius += (target-celsius)*0.4 + r.NormFloat64()*0.15
			if open {
				celsius += 0.5 + r.Float64()
			}
			if battery -= 0.25 + r.Float64()*0.1; battery < 15 || hour < 0.25 {
				battery = 100 // charged overnight
			}
			all = append(all, &fleetv1.Reading{
				BoxId:          b.GetBoxId(),
				DedupKey:       fmt.Sprintf("seed-%d", n+1),
				MeasureTime:    timestamppb.New(at),
				Celsius:        math.Round(celsius*100) / 100,
				BatteryPercent: int32(battery),
				Sequence:       int64(n + 1),
				LidOpen:        open,
			})
		}
	}
	return all
}

// Commands returns what the boxes were told in the last days; all of it has expired.
func Commands(now time.Time) []*fleetv1.Command {
	told := []struct {
		box      int
		kind     fleetv1.CommandKind
		value    float64
		hoursAgo int
	}{
		{1, fleetv1.CommandKind_COMMAND_KIND_SET_TEMPERATURE, 3, 120},
		{2, fleetv1.CommandKind_COMMAND_KIND_LOCK, 0, 96},
		{2, fleetv1.CommandKind_COMMAND_KIND_UNLOCK, 0, 95},
		{5, fleetv1.CommandKind_COMMAND_KIND_SET_TEMPERATURE, -20, 70},
		{4, fleetv1.CommandKind_COMMAND_KIND_BLINK, 0, 51},
		{3, fleetv1.CommandKind_COMMAND_KIND_SET_TEMPERATURE, 4, 30},
		{6, fleetv1.CommandKind_COMMAND_KIND_LOCK, 0, 26},
		{6, fleetv1.CommandKind_COMMAND_KIND_UNLOCK, 0, 25},
	}
	all := make([]*fleetv1.Command, 0, len(told))
	for i, c := range told {
		at := now.UTC().Truncate(time.Second).Add(-time.Duration(c.hoursAgo) * time.Hour)
		all = append(all, &fleetv1.Command{
			CommandId:  fmt.Sprintf("cmd-%07d", i+1),
			BoxId:      BoxID(c.box),
			Kind:       c.kind,
			Value:      c.value,
			CreateTime: timestamppb.New(at),
			ExpireTime: timestamppb.New(at.Add(time.Hour)),
		})
	}
	return all
}
