package main

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"math"
	"math/rand/v2"
	"time"

	mqtt "github.com/eclipse/paho.mqtt.golang"
)

// publishEvery is the time between two readings of a simulated box.
const publishEvery = 2 * time.Second

// reading is the payload of a box.
type reading struct {
	MeasureTime    time.Time `json:"measure_time"`
	Celsius        float64   `json:"celsius"`
	BatteryPercent int       `json:"battery_percent"`
	Sequence       int64     `json:"sequence"`
	DedupKey       string    `json:"dedup_key"`
}

// simulate publishes the readings of a cold box until ctx ends. It reconnects by itself.
func simulate(ctx context.Context, url, id, token string, logger *slog.Logger) {
	client := mqtt.NewClient(mqtt.NewClientOptions().AddBroker(url).SetClientID(id).SetUsername(id).SetPassword(token).
		SetProtocolVersion(4).SetConnectTimeout(5 * time.Second).SetWriteTimeout(5 * time.Second).
		SetConnectRetry(true).SetConnectRetryInterval(time.Second).SetMaxReconnectInterval(5 * time.Second).
		SetConnectionLostHandler(func(_ mqtt.Client, err error) {
			logger.DebugContext(ctx, "a simulated box lost its connection", "box", id, "error", err)
		}))
	client.Connect()
	defer client.Disconnect(0)
	tick := time.NewTicker(publishEvery)
	defer tick.Stop()
	for sequence := time.Now().Unix(); ; sequence++ {
		select {
		case <-ctx.Done():
			return
		case now := <-tick.C:
			payload, err := json.Marshal(reading{
				MeasureTime: now.UTC(), Sequence: sequence, DedupKey: fmt.Sprintf("%s-%d", id, sequence),
				Celsius:        math.Round((4+1.5*math.Sin(float64(now.Unix())/60)+rand.Float64()/2)*100) / 100, //nolint:gosec // weather
				BatteryPercent: 60 + int(sequence%40),
			})
			if err != nil || !client.IsConnectionOpen() {
				continue
			}
			client.Publish("boxes/"+id+"/telemetry", 1, false, payload).WaitTimeout(5 * time.Second)
		}
	}
}
