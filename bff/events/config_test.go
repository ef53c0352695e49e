package events

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/portico-bff/portico/bff/config/mistake"
)

func TestMistakes(t *testing.T) {
	t.Parallel()
	good := Config{Resume: time.Minute}
	_, err := New(map[string]Config{
		"shop.fleet.v1.FleetService/WatchReading":  good,
		"shop.fleet.v1.FleetService/GetBox":        good,
		"shop.fleet.v1.FleetService/Track":         {Resume: -time.Second},
		"shop.fleet.v1.FleetService/WatchCommands": {MaxEvents: -1, MaxBytes: -2, MaxLogs: -3, MaxReaders: -4},
		"shop.fleet.v1.FleetService/WatchReadings": {Resume: 25 * time.Hour},
		"else.Service/Watch":                       good,
	}, fleet(t), Options{Caller: &service{}})
	var got []string
	for _, m := range mistake.List(err) {
		got = append(got, m.Error())
	}
	const fleet = "shop.fleet.v1.FleetService/"
	want := []string{
		`else.Service/Watch: the listed services have no method "else.Service/Watch"`,
		fleet + "GetBox: " + fleet + "GetBox cannot be resumed, expected a method that takes one message and answers with a stream",
		fleet + "Track: " + fleet + "Track cannot be resumed, expected a method that takes one message and answers with a stream",
		fleet + "Track.resume: streams cannot be kept for -1s, expected more than 0 and at most 24h",
		fleet + "WatchCommands.resume: streams cannot be kept for 0s, expected more than 0 and at most 24h",
		fleet + "WatchCommands.max_events: -1 is less than 0",
		fleet + "WatchCommands.max_bytes: -2 is less than 0",
		fleet + "WatchCommands.max_logs: -3 is less than 0",
		fleet + "WatchCommands.max_readers: -4 is less than 0",
		fleet + `WatchReading: the listed services have no method "` + fleet + `WatchReading", did you mean "` + fleet + `WatchReadings"?`,
		fleet + "WatchReadings.resume: streams cannot be kept for 25h0m0s, expected more than 0 and at most 24h",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
}
