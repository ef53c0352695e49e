package iot_test

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/portico-bff/portico/bff/config/mistake"
	"github.com/portico-bff/portico/bff/iot"
	"github.com/portico-bff/portico/bff/iot/bridge"
)

// Every mistake is found, at its path, with what was expected or meant.
func TestCheck(t *testing.T) {
	t.Parallel()
	d := descriptors(t)
	if err := iot.Check(config("x"), d); err != nil {
		t.Fatal(err)
	}
	tests := []struct {
		name string
		edit func(*iot.Config)
		path string
		part string
	}{
		{"no broker", func(c *iot.Config) { c.Broker.Embedded = nil }, "broker", "embedded or external"},
		{"two brokers", func(c *iot.Config) { c.Broker.External = &iot.External{URL: "tcp://b:1"} }, "broker", "exactly one"},
		{"no store", func(c *iot.Config) { c.Broker.Embedded.Store = "" }, "broker.embedded.store", "no folder"},
		{"sync", func(c *iot.Config) { c.Broker.Embedded.Sync = "often" }, "broker.embedded.sync", "default or always"},
		{"max_bytes", func(c *iot.Config) { c.Broker.Embedded.MaxBytes = 5 }, "broker.embedded.max_bytes", "64KiB"},
		{"ack_wait", func(c *iot.Config) { c.Broker.AckWait = time.Millisecond }, "broker.ack_wait", "1s to 1h"},
		{"max_unacked", func(c *iot.Config) { c.Broker.MaxUnacked = 60000 }, "broker.max_unacked", "at most 8191"},
		{"window", func(c *iot.Config) { c.Broker.WindowBytes = -1 }, "broker.window_bytes", "64MiB"},
		{"limits", func(c *iot.Config) { c.Limits.ConnectTimeout = time.Hour }, "limits.connect_timeout", "100 to 60000ms"},
		{"packet", func(c *iot.Config) { c.Limits.PacketBytes = 1 << 30 }, "limits.packet_bytes", "1048576"},
		{"acl variable", func(c *iot.Config) { c.ACL.Publish[0] = "boxes/{box}/telemetry" }, "acl.publish.0", "{device}"},
		{"acl wildcard", func(c *iot.Config) { c.ACL.Subscribe[0] = "a/#/b" }, "acl.subscribe.0", "wildcard"},
		{"acl dollar", func(c *iot.Config) { c.ACL.Subscribe[0] = "$SYS/#" }, "acl.subscribe.0", "broker's"},
		{"nobody takes it", func(c *iot.Config) { c.ACL.Publish = append(c.ACL.Publish, "doors/{device}") }, "acl.publish.1", "nobody takes"},
		{"topic", func(c *iot.Config) { c.Uplinks[0].Topic = "boxes/x{box_id}" }, "uplinks.0.topic", "whole {variable}"},
		{"method", func(c *iot.Config) { c.Uplinks[0].Method = "shop.fleet.v1.FleetService/IngestReading" }, "uplinks.0.method", `did you mean "shop.fleet.v1.FleetService/IngestReadings"`},
		{"stream", func(c *iot.Config) { c.Uplinks[0].Method = "shop.fleet.v1.FleetService/WatchReadings" }, "uplinks.0.method", "unary"},
		{"payload", func(c *iot.Config) { c.Uplinks[0].Payload = []string{"xml"} }, "uplinks.0.payload", "json"},
		{"unknown_fields", func(c *iot.Config) { c.Uplinks[0].UnknownFields = "keep" }, "uplinks.0.unknown_fields", "refuse or ignore"},
		{"into", func(c *iot.Config) { c.Uplinks[0].Into = "reading" }, "uplinks.0.into", `did you mean "readings"`},
		{"set key", func(c *iot.Config) { c.Uplinks[0].Set = map[string]string{"boxid": "{topic.box_id}"} }, "uplinks.0.set.boxid", `did you mean "box_id"`},
		{"set value", func(c *iot.Config) { c.Uplinks[0].Set = map[string]string{"box_id": "{topic.boxid}"} }, "uplinks.0.set.box_id", `did you mean "{topic.box_id}"`},
		{"set text", func(c *iot.Config) { c.Uplinks[0].Set = map[string]string{"sequence": "many"} }, "uplinks.0.set.sequence", "many"},
		{"dedup into", func(c *iot.Config) { c.Uplinks[0].Dedup.Into = "sequence" }, "uplinks.0.dedup.into", "a string field"},
		{"dedup from", func(c *iot.Config) { c.Uplinks[0].Dedup.From = "measure_time" }, "uplinks.0.dedup.from", "no scalar"},
		{"dedup and set", func(c *iot.Config) { c.Uplinks[0].Dedup.Into = "box_id" }, "uplinks.0.dedup.into", "under set"},
		{"batch", func(c *iot.Config) { c.Uplinks[0].Batch.Max = -1 }, "uplinks.0.batch.max", "1 to 10000"},
		{"linger", func(c *iot.Config) { c.Uplinks[0].Batch.Linger = time.Hour }, "uplinks.0.batch.linger", "at most"},
		{"results", func(c *iot.Config) { c.Uplinks[0].Results.Field = "result" }, "uplinks.0.results.field", `did you mean "results"`},
		{"state", func(c *iot.Config) { c.Uplinks[0].Results.State = "reason" }, "uplinks.0.results.state", "an enum field"},
		{"refused", func(c *iot.Config) { c.Uplinks[0].Results.Refused = []string{"REFUSED"} }, "uplinks.0.results.refused", `no value "REFUSED"`},
		{"nothing refused", func(c *iot.Config) { c.Uplinks[0].Results.Refused = nil }, "uplinks.0.results.refused", "no value"},
		{"reason", func(c *iot.Config) { c.Uplinks[0].Results.Reason = "reasons" }, "uplinks.0.results.reason", "reasons"},
		{"dead letter", func(c *iot.Config) { c.Uplinks[0].DeadLetter = "dead/#" }, "uplinks.0.dead_letter", "wildcard"},
		{"dead letters in a circle", func(c *iot.Config) { c.Uplinks[0].DeadLetter = "boxes/dead/telemetry" }, "uplinks.0.dead_letter", "come back"},
		{"overlap", func(c *iot.Config) {
			c.Uplinks = append(c.Uplinks, c.Uplinks[0])
			c.Uplinks[1].Topic = "{kind}/{id}/telemetry"
		}, "uplinks.1.topic", "overlaps"},
		{"downlink method", func(c *iot.Config) { c.Downlinks[0].Method = "shop.fleet.v1.FleetService/GetBox" }, "downlinks.0.method", "server streaming"},
		{"downlink topic", func(c *iot.Config) { c.Downlinks[0].Topic = "boxes/{box_id}/commands" }, "downlinks.0.topic", "{message.FIELD}"},
		{"downlink field", func(c *iot.Config) { c.Downlinks[0].Topic = "boxes/{message.boxid}/commands" }, "downlinks.0.topic", "boxid"},
		{"downlink circle", func(c *iot.Config) { c.Downlinks[0].Topic = "boxes/{message.box_id}/telemetry" }, "downlinks.0.topic", "come back"},
		{"expires", func(c *iot.Config) { c.Downlinks[0].Expires = "value" }, "downlinks.0.expires", "Timestamp"},
		{"url", func(c *iot.Config) { c.Broker = iot.Broker{External: &iot.External{URL: "http://b:1"}} }, "broker.external.url", "tcp or tls"},
		{"url path", func(c *iot.Config) { c.Broker = iot.Broker{External: &iot.External{URL: "tcp://b:1/x"}} }, "broker.external.url", "tcp://host:port"},
		{"share", func(c *iot.Config) {
			c.Broker = iot.Broker{External: &iot.External{URL: "tcp://b:1", Share: "a/b"}}
		}, "broker.external.share", "one level"},
		{"client id", func(c *iot.Config) {
			c.Broker = iot.Broker{External: &iot.External{URL: "tcp://b:1", ClientID: "d_1"}}
		}, "broker.external.client_id", "not beginning"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			cfg := config("x")
			tt.edit(&cfg)
			var got []string
			for _, m := range mistake.List(iot.Check(cfg, d)) {
				if strings.Join(m.Path, ".") == tt.path && strings.Contains(m.Text(), tt.part) {
					return
				}
				got = append(got, m.Error())
			}
			t.Errorf("want %s: %s, got %q", tt.path, tt.part, got)
		})
	}
	cfg := config("x")
	cfg.Broker.AckWait = 1
	cfg.ACL.Publish = []string{"{x}"}
	cfg.Uplinks[0].Into, cfg.Uplinks[0].Topic = "x", ""
	cfg.Downlinks[0].Method = "x"
	var paths []string
	for _, m := range mistake.List(iot.Check(cfg, d)) {
		paths = append(paths, strings.Join(m.Path, "."))
	}
	want := []string{"broker.ack_wait", "acl.publish.0", "uplinks.0.topic", "uplinks.0.into", "downlinks.0.method"}
	for _, w := range want {
		if !strings.Contains(strings.Join(paths, " "), w) {
			t.Errorf("all at once: %q lacks %s", paths, w)
		}
	}
}

// A Config may be used twice, and Check changes nothing in it.
func TestCheckChangesNothing(t *testing.T) {
	t.Parallel()
	cfg, same := config("x"), config("x")
	if err := iot.Check(cfg, descriptors(t)); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(same, cfg); diff != "" {
		t.Error(diff)
	}
	cfg.Uplinks = append(cfg.Uplinks, bridge.Uplink{})
	if iot.Check(cfg, descriptors(t)) == nil {
		t.Error("an empty uplink passes")
	}
}
