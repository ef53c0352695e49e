package node

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"google.golang.org/grpc"
	testpb "google.golang.org/grpc/interop/grpc_testing"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/peer"
	"google.golang.org/grpc/status"
)

// mostInFlight bounds the calls of a load that are under way. One that would go beyond
// counts as failed: the load does not wait for who is slow.
const mostInFlight = 5000

// Load is calls at a fixed rate, whatever becomes of them.
type Load struct {
	// Write makes calls that must not be repeated.
	Write bool
	// Rate is calls a second. Timeout is each call's own, zero none.
	Rate    float64
	Timeout time.Duration
	// Number ends the load after so many calls; zero goes on until [Node.End].
	Number int
	// Headers are every call's metadata.
	Headers map[string]string
	// IDs sends x-id, of so many values in turn, each beginning with Prefix.
	IDs    int
	Prefix string
}

// Outcome is what became of a load's calls.
type Outcome struct {
	Calls, Failed int
	// Codes counts the failed calls by status code; First is one of their errors.
	Codes map[string]int
	First string
	// Answered was by these servers.
	Answered map[string]int
	// Expired answers came over a connection whose certificate had ended.
	Expired int
	// P50 and P99 are of the calls that did not fail, from when they were made.
	P50, P99 time.Duration
	// FailedP99 is of those that did.
	FailedP99 time.Duration
	// Elapsed is how long it took until the last call had ended.
	Elapsed time.Duration
}

type load struct {
	Load
	stop  context.CancelFunc
	began time.Time
	work  sync.WaitGroup
	alive atomic.Int64

	mu      sync.Mutex // guards what follows
	outcome Outcome
	took    []time.Duration // by calls that did not fail
	failing []time.Duration // by calls that did
}

// Begin begins a load. There may be one at a time.
func (n *Node) Begin(in Load, _ *None) error {
	if n.conn == nil || in.Rate <= 0 {
		return fmt.Errorf("node %s: want a target and a rate", n.config.Name)
	}
	ctx, stop := context.WithCancel(context.Background())
	l := &load{Load: in, stop: stop, began: time.Now()}
	l.outcome = Outcome{Codes: map[string]int{}, Answered: map[string]int{}}
	if !n.load.CompareAndSwap(nil, l) {
		stop()
		return errors.New("a load is under way")
	}
	l.work.Go(func() { l.run(ctx, testpb.NewTestServiceClient(n.conn)) })
	return nil
}

// Progress tells of the load that is under way.
func (n *Node) Progress(_ None, out *Outcome) error {
	l := n.load.Load()
	if l == nil {
		return errors.New("no load is under way")
	}
	*out = l.sum()
	return nil
}

// End ends the load, or waits for its end if its number of calls is bounded. Calls that
// are under way may end first.
func (n *Node) End(_ None, out *Outcome) error {
	l := n.load.Load()
	if l == nil {
		return errors.New("no load is under way")
	}
	if l.Number == 0 {
		l.stop()
	}
	l.work.Wait()
	l.stop()
	*out = l.sum()
	n.load.Store(nil)
	return nil
}

// run makes calls until its time is over. A call that is due while the one before is
// not yet made is made right after it, so the rate holds on a busy machine too.
func (l *load) run(ctx context.Context, client testpb.TestServiceClient) {
	period := time.Duration(float64(time.Second) / l.Rate)
	timer := time.NewTimer(0)
	defer timer.Stop()
	for i := 0; l.Number == 0 || i < l.Number; i++ {
		timer.Reset(time.Until(l.began.Add(time.Duration(i) * period)))
		select {
		case <-ctx.Done():
			return
		case <-timer.C:
		}
		if l.alive.Add(1) > mostInFlight {
			l.alive.Add(-1)
			l.note(time.Now(), "", false, errors.New("too many calls are under way"))
			continue
		}
		l.work.Go(func() {
			defer l.alive.Add(-1)
			l.call(context.WithoutCancel(ctx), client, i)
		})
	}
}

// call makes the i-th call. It does not end with the load.
func (l *load) call(ctx context.Context, client testpb.TestServiceClient, i int) {
	if l.Timeout > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, l.Timeout)
		defer cancel()
	}
	md := metadata.New(l.Headers)
	if l.IDs > 0 {
		md.Set("x-id", l.Prefix+strconv.Itoa(i%l.IDs))
	}
	ctx = metadata.NewOutgoingContext(ctx, md)
	method := client.CacheableUnaryCall
	if l.Write {
		method = client.UnaryCall
	}
	var from peer.Peer
	began := time.Now()
	reply, err := method(ctx, payload(), grpc.Peer(&from))
	_, end := certificate(from.AuthInfo)
	l.note(began, reply.GetServerId(), err == nil && !time.Now().Before(end), err)
}

// payload is a request of 128 bytes.
func payload() *testpb.SimpleRequest {
	return &testpb.SimpleRequest{Payload: &testpb.Payload{Body: make([]byte, 120)}}
}

func (l *load) note(began time.Time, server string, expired bool, err error) {
	now := time.Now()
	l.mu.Lock()
	defer l.mu.Unlock()
	o := &l.outcome
	o.Calls++
	o.Elapsed = now.Sub(l.began)
	if err != nil {
		o.Failed++
		l.failing = append(l.failing, now.Sub(began))
		o.Codes[status.Code(err).String()]++
		if o.First == "" {
			o.First = err.Error()
		}
		return
	}
	if expired {
		o.Expired++
	}
	o.Answered[server]++
	l.took = append(l.took, now.Sub(began))
}

// sum is the outcome so far.
func (l *load) sum() Outcome {
	l.mu.Lock()
	defer l.mu.Unlock()
	o := l.outcome
	o.Codes, o.Answered = maps.Clone(o.Codes), maps.Clone(o.Answered)
	took := slices.Sorted(slices.Values(l.took))
	o.P50, o.P99 = nearestRank(took, 50), nearestRank(took, 99)
	o.FailedP99 = nearestRank(slices.Sorted(slices.Values(l.failing)), 99)
	return o
}

// nearestRank is the smallest of the sorted times that p percent of them do not exceed.
func nearestRank(sorted []time.Duration, p float64) time.Duration {
	if len(sorted) == 0 {
		return 0
	}
	return sorted[max(int(math.Ceil(p/100*float64(len(sorted))))-1, 0)]
}
