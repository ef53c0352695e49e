package outlier

import (
	"math"
	"time"
)

// count notes a request for the host's success rate. The first one after the end
// of an interval compares the rates of all hosts.
func (h *Host) count(outcome Outcome, c *Config, now time.Time) {
	h.requests.Add(1)
	if outcome == Success {
		h.successes.Add(1)
	}
	p, at := h.pool, h.pool.sweepAt.Load()
	if now.UnixNano() < at || !p.sweepAt.CompareAndSwap(at, now.Add(c.Interval).UnixNano()) {
		return
	}
	if at != 0 { // else it is the very first request
		p.sweep(c.SuccessRate, now)
	}
}

// rated is a host with enough requests to be compared.
type rated struct {
	host *Host
	rate float64
}

// sweep ends an interval: hosts far below the mean are ejected, and all counts
// start anew.
func (p *Pool) sweep(c SuccessRate, now time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	var list []rated
	for _, h := range p.hosts {
		requests, successes := h.requests.Swap(0), h.successes.Swap(0)
		if h.state.Load() == inUse && requests > 0 && requests >= int64(c.RequestVolume) {
			list = append(list, rated{host: h, rate: float64(successes) / float64(requests)})
		}
	}
	if len(list) < c.MinimumHosts {
		return
	}
	mean, deviation := spread(list)
	for _, r := range list {
		if r.rate < mean-deviation*float64(c.StdevFactor)/1000 {
			r.host.eject(now)
		}
	}
}

// spread returns the rates' mean and standard deviation.
func spread(list []rated) (mean, deviation float64) {
	for _, r := range list {
		mean += r.rate
	}
	mean /= float64(len(list))
	for _, r := range list {
		deviation += (r.rate - mean) * (r.rate - mean)
	}
	return mean, math.Sqrt(deviation / float64(len(list)))
}
