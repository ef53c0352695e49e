package mesh

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"os"
	"time"

	"github.com/portico-bff/portico/mesh/internal/authz"
	"github.com/portico-bff/portico/mesh/internal/policy"
)

// policyInterval is how often a policy file is read again, if nobody says.
const policyInterval = time.Second

// Policy is what a policy file says, checked and compiled: immutable and safe
// for concurrent use. The package comment describes the file.
type Policy struct {
	sum     [sha256.Size]byte
	file    policy.Policy
	matcher *authz.Matcher
}

// LoadPolicy reads a policy file. Its error lists every mistake in it, each as
// file:line:col with what was found and what is expected.
func LoadPolicy(path string) (*Policy, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("reading the mesh policy: %w", err)
	}
	return ParsePolicy(path, text)
}

// ParsePolicy is [LoadPolicy] for text that does not come from a file; name
// stands for the file in errors.
func ParsePolicy(name string, text []byte) (*Policy, error) {
	file, err := policy.Parse(name, text)
	if err != nil {
		return nil, err
	}
	return &Policy{
		sum:     sha256.Sum256(text),
		file:    *file,
		matcher: authz.Compile(file.Authorizations, incoming),
	}, nil
}

// version is the beginning of the text's hash; a policy without one has none.
func (p *Policy) version() string {
	if p.sum == [sha256.Size]byte{} {
		return ""
	}
	return hex.EncodeToString(p.sum[:6])
}

// watchPolicy takes up the policy file whenever its contents change to something
// good. Each bad state of it is reported once.
func (m *Mesh) watchPolicy(ctx context.Context, path string, interval time.Duration, current [sha256.Size]byte) {
	failure := ""
	for sleep(ctx, interval) {
		text, err := os.ReadFile(path)
		if err == nil {
			sum := sha256.Sum256(text)
			if sum == current {
				failure = ""
				continue
			}
			var next *Policy
			if next, err = ParsePolicy(path, text); err == nil {
				current, failure = sum, ""
				m.policy.Store(next)
				m.counts.policyLoads.Add(1)
				m.onEvent(Event{Kind: PolicyLoaded, Target: path})
				continue
			}
		}
		if err.Error() != failure {
			failure = err.Error()
			m.counts.policyErrors.Add(1)
			m.onEvent(Event{Kind: PolicyRefused, Target: path, Err: err})
		}
	}
}
