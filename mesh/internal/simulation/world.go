package simulation

import (
	"math/rand/v2"
	"slices"
	"strconv"
	"time"

	"github.com/portico-bff/portico/mesh/internal/budget"
	"github.com/portico-bff/portico/mesh/internal/outlier"
	"github.com/portico-bff/portico/mesh/internal/picker"
)

// zones is how many there are. Clients and endpoints are spread over them evenly.
const zones = 3

// Size is how large a world is.
type Size struct {
	Clients, Endpoints int
}

// Full is the size of the plots.
func Full() Size { return Size{Clients: 1000, Endpoints: 200} }

// world is what a simulation is about.
type world struct {
	Size

	// Rate is how many requests each endpoint gets in a second, if all get as many;
	// clients make them at random times. Service is how long an endpoint works on
	// one, on average; it works on one after the other. If the next would wait longer
	// than Queue, it is refused as UNAVAILABLE; zero lets it wait.
	Rate           float64
	Service, Queue time.Duration
	// Fate says how an endpoint does at a time: how many times longer than usual it
	// takes, and whether it only fails. Nil: as usual.
	Fate func(endpoint int, at time.Duration) (slower float64, fails bool)

	// What clients do.
	Balance  picker.Config
	Outlier  outlier.Config
	Attempts int // retries
	Budget   *budget.Config
	Timeout  time.Duration // of an attempt

	Length time.Duration
}

// Interval is how time is divided in what is counted.
const Interval = 250 * time.Millisecond

// Counts is what happened in an interval.
type Counts struct {
	Requests, Attempts int     // that began
	Succeeded, Failed  int     // of the requests
	InUse              float64 // part of the endpoints that were in use, for clients on average
}

// outcome is what became of a world.
type outcome struct {
	intervals []Counts
	took      []time.Duration // of requests, in order
	attempts  []int           // by endpoint
}

// simulation is a world that runs.
type simulation struct {
	*world
	*clock
	outcome

	chance    *rand.Rand
	clients   []*client
	endpoints []*endpoint
}

type client struct {
	pool   *outlier.Pool
	set    *picker.Set
	hosts  []*outlier.Host
	budget *budget.Budget // nil: no end
}

// endpoint works on one request after the other.
type endpoint struct {
	free time.Time // when it has done what it has
}

// run runs a world to its end.
func (w *world) run() outcome {
	s := &simulation{world: w, clock: newClock(), chance: rand.New(newRandom(0))} //nolint:gosec // to be repeated
	s.intervals = make([]Counts, int(w.Length/Interval)+1)
	s.attempts = make([]int, w.Endpoints)
	for range w.Endpoints {
		s.endpoints = append(s.endpoints, new(endpoint))
	}
	for i := range w.Clients {
		s.clients = append(s.clients, s.client(i))
	}
	s.arrive()
	s.look()
	s.run(w.Length)
	slices.Sort(s.took)
	return s.outcome
}

func (s *simulation) run(length time.Duration) { s.clock.run(length) }

// client makes a client. It prefers the endpoints of its zone.
func (s *simulation) client(number int) *client {
	c := &client{pool: outlier.NewPool(s.Outlier, nil)}
	c.pool.Seed(newRandom(uint64(2*number + 1)))
	members := make([]picker.Member, s.Endpoints)
	for i := range members {
		host := c.pool.Host(strconv.Itoa(i))
		c.hosts = append(c.hosts, host)
		members[i] = picker.Member{Host: host, Ready: true}
		if i%zones != number%zones {
			members[i].Tier = 1
		}
	}
	c.set = picker.New(members)
	c.set.Seed(newRandom(uint64(2*number + 2)))
	if s.Budget != nil {
		c.budget = budget.New(*s.Budget, s.now)
	}
	return c
}

// arrive lets the next request come.
func (s *simulation) arrive() {
	rate := s.Rate * float64(s.Endpoints)
	s.after(time.Duration(s.chance.ExpFloat64()/rate*float64(time.Second)), func() {
		c := s.clients[s.chance.IntN(len(s.clients))]
		begun := s.at()
		begun.Requests++
		if c.budget != nil {
			c.budget.Deposit(s.now)
		}
		s.attempt(&request{client: c, began: s.now, counts: begun})
		s.arrive()
	})
}

// look notes now and then how many endpoints are in use.
func (s *simulation) look() {
	const some = 20
	inUse, all := 0, 0
	for i := 0; i < len(s.clients); i += max(1, len(s.clients)/some) {
		for _, h := range s.clients[i].hosts {
			all++
			if !h.Ejected() {
				inUse++
			}
		}
	}
	s.at().InUse = float64(inUse) / float64(all)
	s.after(Interval, s.look)
}

// at is the interval of now.
func (s *simulation) at() *Counts { return &s.intervals[int(s.since()/Interval)] }

// request is one request over all its attempts.
type request struct {
	client *client
	began  time.Time
	counts *Counts // of the interval in which it began
	tried  []*outlier.Host
}

func (r *request) hasTried(h *outlier.Host) bool { return slices.Contains(r.tried, h) }

// attempt makes one attempt.
func (s *simulation) attempt(r *request) {
	s.at().Attempts++
	choose := picker.Request{Now: s.now}
	if len(r.tried) > 0 {
		choose.Tried = r.hasTried
	}
	choice, _ := r.client.set.Pick(&s.Balance, choose)
	choice.Host.Begin(0, s.now)
	s.attempts[choice.Index]++
	took, what := s.serve(choice.Index)
	began := s.now
	s.after(took, func() {
		choice.Host.End(what, s.now.Sub(began), s.now)
		choice.Host.Report(what, choice.Probe, s.now)
		if what == outlier.Success {
			r.counts.Succeeded++
			s.took = append(s.took, s.now.Sub(r.began))
			return
		}
		r.tried = append(r.tried, choice.Host)
		if len(r.tried) > s.Attempts || r.client.budget != nil && !r.client.budget.Withdraw(s.now) {
			r.counts.Failed++
			s.took = append(s.took, s.now.Sub(r.began))
			return
		}
		s.after(s.pause(len(r.tried)), func() { s.attempt(r) })
	})
}

// pause is the mesh's backoff before a retry.
func (s *simulation) pause(retry int) time.Duration {
	const base, most = 25 * time.Millisecond, 250 * time.Millisecond
	return time.Duration((0.8 + 0.4*s.chance.Float64()) * float64(min(most, base<<(retry-1))))
}

// refusal is how long it takes to hear that an endpoint does not serve.
const refusal = time.Millisecond

// serve gives an endpoint a request, and says what the client will hear, and when. An
// endpoint does not know that a client has given up, and does the work all the same.
func (s *simulation) serve(number int) (time.Duration, outlier.Outcome) {
	e, slower, fails := s.endpoints[number], 1.0, false
	if s.Fate != nil {
		slower, fails = s.Fate(number, s.since())
	}
	if e.free.Before(s.now) {
		e.free = s.now
	}
	if fails || s.Queue > 0 && e.free.Sub(s.now) > s.Queue {
		return refusal, outlier.GatewayError
	}
	e.free = e.free.Add(time.Duration(s.chance.ExpFloat64() * slower * float64(s.Service)))
	if took := e.free.Sub(s.now); s.Timeout == 0 || took <= s.Timeout {
		return took, outlier.Success
	}
	return s.Timeout, outlier.GatewayError
}
