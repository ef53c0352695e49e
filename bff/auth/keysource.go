package auth

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"os"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// How keys are kept fresh.
const (
	fetchTimeout  = 5 * time.Second
	maxKeySet     = 1 << 20          // bytes of a key set
	refreshMin    = time.Minute      // however short the issuer says that its answer lives
	refreshUsual  = 15 * time.Minute // if the issuer does not say
	refreshMax    = time.Hour
	backoffMin    = time.Second
	backoffMax    = time.Minute
	demandMin     = 10 * time.Second // between two fetches that an unknown key id asks for
	fileRefresh   = time.Minute
	retryAfterKey = 2 * time.Second // what a client is told while there are no keys yet
)

// keySource keeps the keys of one issuer: loaded at the start, again and again, and once more when a token names a key
// that is not known. Keys that were loaded stay until others replace them, so an outage of the issuer is not felt.
type keySource struct {
	issuer string
	// load returns a JWK set and how long it is good for (0: not said).
	load   func(ctx context.Context) ([]byte, time.Duration, error)
	logger *slog.Logger
	keys   atomic.Pointer[keySet]
	demand chan struct{} // asks run for a fetch now

	// mu guards the fields below.
	mu       sync.Mutex
	fetching bool
	last     time.Time     // when the last fetch began
	round    chan struct{} // closed when the next fetch ends
	err      error         // of the last fetch
}

func newKeySource(issuer string, load func(context.Context) ([]byte, time.Duration, error), logger *slog.Logger) *keySource {
	return &keySource{issuer: issuer, load: load, logger: logger, demand: make(chan struct{}, 1), round: make(chan struct{})}
}

// run keeps the keys fresh until ctx ends.
func (s *keySource) run(ctx context.Context) {
	backoff := backoffMin
	for {
		wait, err := s.fetch(ctx)
		if ctx.Err() != nil {
			return
		}
		if err != nil {
			wait = backoff/2 + rand.N(backoff/2+1) //nolint:gosec // spreads retries, guards no secret
			backoff = min(2*backoff, backoffMax)
			s.logger.WarnContext(ctx, "signing keys could not be loaded", "issuer", s.issuer, "error", err,
				"known_keys", s.keys.Load() != nil, "retry_in", wait)
		} else {
			backoff = backoffMin
		}
		timer := time.NewTimer(wait)
		select {
		case <-ctx.Done():
			timer.Stop()
			return
		case <-s.demand:
			timer.Stop()
		case <-timer.C:
		}
	}
}

// fetch loads the keys once and wakes those who wait for it.
func (s *keySource) fetch(ctx context.Context) (next time.Duration, err error) {
	s.mu.Lock()
	s.fetching, s.last = true, time.Now()
	s.mu.Unlock()
	next, err = s.replace(ctx)
	s.mu.Lock()
	s.fetching, s.err = false, err
	close(s.round)
	s.round = make(chan struct{})
	s.mu.Unlock()
	return next, err
}

func (s *keySource) replace(ctx context.Context) (time.Duration, error) {
	ctx, cancel := context.WithTimeout(ctx, fetchTimeout)
	defer cancel()
	data, fresh, err := s.load(ctx)
	if err != nil {
		return 0, err
	}
	set, err := parseKeys(data)
	if err != nil {
		return 0, err
	}
	// The same keys keep the same pointer, by which verified tokens are remembered.
	if old := s.keys.Load(); old == nil || old.digest != set.digest {
		s.keys.Store(set)
	}
	if fresh == 0 {
		fresh = refreshUsual
	}
	return min(max(fresh, refreshMin), refreshMax), nil
}

// refreshed asks for the keys once more, if that was not done just now, and waits for the end of it.
func (s *keySource) refreshed(ctx context.Context) {
	s.mu.Lock()
	recent, fetching, round := time.Since(s.last) < demandMin, s.fetching, s.round
	s.mu.Unlock()
	if !fetching {
		if recent {
			return
		}
		select {
		case s.demand <- struct{}{}:
		default: // somebody has asked already
		}
	}
	timer := time.NewTimer(fetchTimeout)
	defer timer.Stop()
	select {
	case <-round:
	case <-ctx.Done():
	case <-timer.C:
	}
}

// ready returns why there are no keys; nil if there are some.
func (s *keySource) ready() error {
	if s.keys.Load() != nil {
		return nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.err != nil {
		return fmt.Errorf("no signing keys of %s yet: %w", s.issuer, s.err)
	}
	return fmt.Errorf("no signing keys of %s yet", s.issuer)
}

// fromURI loads keys over HTTP.
func fromURI(client *http.Client, uri string) func(context.Context) ([]byte, time.Duration, error) {
	return func(ctx context.Context) ([]byte, time.Duration, error) {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, uri, http.NoBody)
		if err != nil {
			return nil, 0, err
		}
		req.Header.Set("Accept", "application/jwk-set+json, application/json")
		resp, err := client.Do(req)
		if err != nil {
			return nil, 0, err
		}
		defer resp.Body.Close()
		if resp.StatusCode != http.StatusOK {
			return nil, 0, fmt.Errorf("%s answered %s", uri, resp.Status)
		}
		data, err := io.ReadAll(io.LimitReader(resp.Body, maxKeySet+1))
		if err != nil {
			return nil, 0, fmt.Errorf("reading %s: %w", uri, err)
		}
		if len(data) > maxKeySet {
			return nil, 0, fmt.Errorf("%s answered more than %d bytes", uri, maxKeySet)
		}
		return data, maxAge(resp.Header.Get("Cache-Control")), nil
	}
}

// fromFile loads keys from a file.
func fromFile(path string) func(context.Context) ([]byte, time.Duration, error) {
	return func(context.Context) ([]byte, time.Duration, error) {
		f, err := os.Open(path)
		if err != nil {
			return nil, 0, err
		}
		defer f.Close()
		data, err := io.ReadAll(io.LimitReader(f, maxKeySet+1))
		if err == nil && len(data) > maxKeySet {
			err = errors.New("the file is too large for a key set")
		}
		return data, fileRefresh, err
	}
}

// maxAge is the max-age of a Cache-Control header; 0 if it has none.
func maxAge(header string) time.Duration {
	for directive := range strings.SplitSeq(header, ",") {
		name, value, _ := strings.Cut(strings.TrimSpace(directive), "=")
		if strings.EqualFold(name, "max-age") {
			if seconds, err := strconv.ParseUint(strings.Trim(value, `"`), 10, 31); err == nil {
				return time.Duration(seconds) * time.Second
			}
		}
	}
	return 0
}
