package iot_test

import (
	"fmt"
	"sync"
	"testing"
	"time"

	mqtt "github.com/eclipse/paho.mqtt.golang"

	"github.com/portico-bff/portico/bff/config/unit"
)

// BenchmarkUplink carries messages of 100 bytes from four devices, each with 100 of them under way, through front,
// embedded broker and bridge into a service that only counts. An operation is a message that the service has taken.
func BenchmarkUplink(b *testing.B) {
	f := newFleet()
	cfg := config(b.TempDir())
	cfg.Broker.AckWait = 30 * time.Second
	cfg.Limits.Rate = unit.Rate{Events: 1e6, Per: time.Second}
	d := open(b, cfg, f)
	const devices = 4
	publish := func(id string, c mqtt.Client, n int) {
		under := make(chan mqtt.Token, 100)
		var wg sync.WaitGroup
		wg.Go(func() {
			for tok := range under {
				if err := wait(tok); err != nil {
					b.Error(err)
				}
			}
		})
		for i := range n {
			under <- c.Publish("boxes/"+id+"/telemetry", 1, false, fmt.Sprintf(`{"sequence": %d, "celsius": 3.25, "batteryPercent": 70, "dedupKey": "%040d"}`, 1000+i, i))
		}
		close(under)
		wg.Wait()
	}
	var clients [devices]mqtt.Client
	for i := range clients {
		clients[i] = d.device(b, fmt.Sprintf("box-%d", i))
	}
	b.ResetTimer()
	var wg sync.WaitGroup
	for i, c := range clients {
		wg.Go(func() { publish(fmt.Sprintf("box-%d", i), c, (b.N+devices-1)/devices) })
	}
	wg.Wait()
	eventually(b, 30*time.Second, func() error {
		f.mu.Lock()
		defer f.mu.Unlock()
		if got := len(f.readings); got < b.N {
			return fmt.Errorf("%d of %d are stored", got, b.N)
		}
		return nil
	})
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "msg/s")
}
