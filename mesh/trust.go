package mesh

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"slices"
	"sync/atomic"

	"github.com/spiffe/go-spiffe/v2/bundle/x509bundle"
	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"github.com/spiffe/go-spiffe/v2/svid/x509svid"

	"github.com/portico-bff/portico/mesh/internal/policy"
)

// TLS asks whom it trusts when a connection is made, and never again. So connections
// are reviewed when that changes: an authority that is gone from a bundle, a trust
// domain that is not federated any more, an identity that the policy pins no more. What
// a new handshake would refuse is closed.

// review is what a connection is reviewed by.
type review struct {
	since uint64 // as of which state of trust it was made
	check func(peer []*x509.Certificate) error
}

// trust is what was trusted at the last look.
type trust struct {
	state   atomic.Uint64 // grows with each change
	policy  *Policy
	bundles map[spiffeid.TrustDomain]*x509bundle.Bundle // nil: not trusted
}

// reviewed returns how a connection is to be reviewed that is about to be made.
func (l *lives) reviewed(check func([]*x509.Certificate) error) review {
	return review{since: l.trust.state.Load(), check: check}
}

// watchTrust reviews connections when whom the process trusts has changed.
func (m *Mesh) watchTrust(ctx context.Context) {
	for sleep(ctx, policyInterval) {
		if m.trustChanged() {
			m.reviewAll()
		}
	}
}

// trustChanged looks at the policy and at the bundles that connections rest on. Its
// goroutine alone uses what it compares them to.
func (m *Mesh) trustChanged() bool {
	t := &m.lives.trust
	p := m.policy.Load()
	changed := p != t.policy
	t.policy = p
	now := map[spiffeid.TrustDomain]*x509bundle.Bundle{}
	for _, c := range m.lives.all() {
		domain := c.domain
		if _, seen := now[domain]; seen || domain.IsZero() {
			continue
		}
		bundle, err := m.identity.GetX509BundleForTrustDomain(domain)
		if err != nil {
			bundle = nil
		} else {
			bundle = bundle.Clone() // its owner may change it
		}
		now[domain] = bundle
		// One that was not looked at before may have changed since the handshake.
		if last, seen := t.bundles[domain]; !seen || !sameBundle(last, bundle) {
			changed = true
		}
	}
	t.bundles = now
	if changed {
		t.state.Add(1)
	}
	return changed
}

func sameBundle(a, b *x509bundle.Bundle) bool {
	if a == nil || b == nil {
		return a == b
	}
	return a.Equal(b)
}

// reviewAll closes the connections that would not be made any more.
func (m *Mesh) reviewAll() {
	state := m.lives.trust.state.Load()
	for _, c := range m.lives.all() {
		if c.review.since >= state {
			continue
		}
		c.review.since = state
		if err := c.review.check(c.peer); err != nil {
			m.counts.revoked.Add(1)
			event := Event{Kind: ConnectionRevoked, Endpoint: c.RemoteAddr().String(), Err: err}
			if id, err := x509svid.IDFromCert(c.peer[0]); err == nil {
				event.Peer = id
			}
			m.onEvent(event)
			_ = c.Close()
		}
	}
}

// vouched says why a peer's certificates are not trusted any more.
func (m *Mesh) vouched(peer []*x509.Certificate) error {
	if _, _, err := x509svid.Verify(peer, m.identity); err != nil {
		return fmt.Errorf("mesh: the peer is not trusted any more: %w", err)
	}
	return nil
}

// trusts says why a server that was connected to in one way would not be any more.
func (ch *channel) trusts(made policy.TLS, peer []*x509.Certificate) error {
	if now := ch.plan().destination.TLS; now != made {
		return errors.New("mesh: the policy secures connections otherwise now")
	}
	if made.Mode == policy.SimpleTLS {
		return nil
	}
	if err := ch.pinned(peer); err != nil {
		return err
	}
	return ch.mesh.vouched(peer)
}

// pinned says why the server with that certificate is not one that is expected.
func (ch *channel) pinned(peer []*x509.Certificate) error {
	expected, err := ch.expected()
	if err != nil {
		return err
	}
	id, err := x509svid.IDFromCert(peer[0])
	if err != nil {
		return err
	}
	if !slices.Contains(expected, id) {
		return fmt.Errorf("mesh: unexpected ID %q of %s", id, ch.target)
	}
	return nil
}
