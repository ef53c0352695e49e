package iot_test

import (
	"strings"
	"testing"
	"time"

	"github.com/goccy/go-yaml"
	"github.com/google/go-cmp/cmp"

	"github.com/portico-bff/portico/bff/config/unit"
	"github.com/portico-bff/portico/bff/iot"
	"github.com/portico-bff/portico/bff/iot/bridge"
)

// The section as a user writes it decodes strictly, and is right.
func TestYAML(t *testing.T) {
	t.Parallel()
	const text = `
broker: {embedded: {store: data/mqtt, sync: always, max_bytes: 2GiB}, ack_wait: 20s, max_unacked: 4000, window_bytes: 32MiB}
acl:
  publish: ["boxes/{device}/telemetry"]
  subscribe: ["boxes/{device}/commands"]
uplinks:
  - topic: "boxes/{box_id}/telemetry"
    method: shop.fleet.v1.FleetService/IngestReadings
    payload: [json]
    unknown_fields: ignore
    into: readings
    set: {box_id: "{topic.box_id}"}
    dedup: {into: dedup_key, from: dedup_key}
    batch: {max: 500, linger: 10ms}
    results: {field: results, state: state, refused: [INGEST_STATE_REFUSED], reason: reason}
    dead_letter: "dead/boxes"
downlinks:
  - {method: shop.fleet.v1.FleetService/WatchCommands, topic: "boxes/{message.box_id}/commands", expires: expire_time}
limits: {connections: 100, connect_timeout: 5s, connect_bytes: 4KiB, packet_bytes: 64KiB, keepalive: 20m, rate: 100/s, burst: 200, subscriptions: 8}
`
	var got iot.Config
	if err := yaml.NewDecoder(strings.NewReader(text), yaml.DisallowUnknownField()).Decode(&got); err != nil {
		t.Fatal(err)
	}
	want := iot.Config{
		Broker: iot.Broker{
			Embedded: &iot.Embedded{Store: "data/mqtt", Sync: "always", MaxBytes: 2 << 30},
			AckWait:  20 * time.Second, MaxUnacked: 4000, WindowBytes: 32 << 20,
		},
		ACL: iot.ACL{Publish: []string{"boxes/{device}/telemetry"}, Subscribe: []string{"boxes/{device}/commands"}},
		Uplinks: []bridge.Uplink{{
			Topic: "boxes/{box_id}/telemetry", Method: "shop.fleet.v1.FleetService/IngestReadings", Payload: []string{"json"},
			UnknownFields: "ignore", Into: "readings", Set: map[string]string{"box_id": "{topic.box_id}"},
			Dedup:      &bridge.Dedup{Into: "dedup_key", From: "dedup_key"},
			Batch:      bridge.Batch{Max: 500, Linger: 10 * time.Millisecond},
			Results:    &bridge.Results{Field: "results", State: "state", Refused: []string{"INGEST_STATE_REFUSED"}, Reason: "reason"},
			DeadLetter: "dead/boxes",
		}},
		Downlinks: []bridge.Downlink{{
			Method: "shop.fleet.v1.FleetService/WatchCommands", Topic: "boxes/{message.box_id}/commands", Expires: "expire_time",
		}},
		Limits: iot.Limits{
			Connections: 100, ConnectTimeout: 5 * time.Second, ConnectBytes: 4 << 10, PacketBytes: 64 << 10,
			Keepalive: 20 * time.Minute, Rate: unit.Rate{Events: 100, Per: time.Second}, Burst: 200, Subscriptions: 8,
		},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if err := iot.Check(got, descriptors(t)); err != nil {
		t.Error(err)
	}
	got.ResolvePaths(func(path string) string { return "/etc/portico/" + path })
	if got.Broker.Embedded.Store != "/etc/portico/data/mqtt" {
		t.Errorf("store %q", got.Broker.Embedded.Store)
	}
}
