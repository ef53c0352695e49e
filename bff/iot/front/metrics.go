package front

import (
	"errors"

	"github.com/prometheus/client_golang/prometheus"
)

// Why connections close, as the metric's label tells it.
const (
	reasonFull       = "too_many_connections"
	reasonRefused    = "refused"
	reasonProtocol   = "protocol_violation"
	reasonForbidden  = "forbidden"
	reasonLimited    = "rate_limited"
	reasonSilent     = "keepalive"
	reasonExpired    = "credentials_expired"
	reasonTakenOver  = "taken_over"
	reasonShutdown   = "shutdown"
	reasonBroker     = "broker"
	reasonDevice     = "device"
	reasonDisconnect = "disconnect"
)

type metrics struct {
	connections prometheus.Gauge
	published   *prometheus.CounterVec // by QoS
	delivered   prometheus.Counter
	refusals    *prometheus.CounterVec // by CONNACK return code
	denied      *prometheus.CounterVec // by packet
	closed      *prometheus.CounterVec // by reason
	throttled   prometheus.Counter
}

func newMetrics(r prometheus.Registerer) (*metrics, error) {
	counters := func(name, help, label string) *prometheus.CounterVec {
		return prometheus.NewCounterVec(prometheus.CounterOpts{Name: "portico_iot_" + name, Help: help}, []string{label})
	}
	m := &metrics{
		connections: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "portico_iot_connections", Help: "Open connections of devices.",
		}),
		published: counters("published_total", "Messages that devices published and the broker was handed.", "qos"),
		delivered: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "portico_iot_delivered_total", Help: "Messages sent to devices.",
		}),
		refusals: counters("refused_connects_total", "Connections refused, by CONNACK return code.", "code"),
		denied:   counters("denied_total", "Packets that the ACL denied.", "packet"),
		closed:   counters("closed_connections_total", "Connections closed, by reason.", "reason"),
		throttled: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "portico_iot_throttled_total", Help: "Messages that a limit made wait.",
		}),
	}
	var err error
	for _, c := range []prometheus.Collector{
		m.connections, m.published, m.delivered, m.refusals, m.denied, m.closed, m.throttled,
	} {
		err = errors.Join(err, r.Register(c))
	}
	return m, err
}
