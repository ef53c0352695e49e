package mesh

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"github.com/spiffe/go-spiffe/v2/bundle/x509bundle"
	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"github.com/spiffe/go-spiffe/v2/svid/x509svid"
)

// FileOptions says where the files of an identity are. Dir alone is enough for
// what [DevCA.WriteFiles], cert-manager, csi-driver-spiffe and Kubernetes secrets
// write: tls.crt, tls.key and ca.crt.
type FileOptions struct {
	// Dir is the folder of the three files.
	Dir string
	// Cert, Key and Bundle are the files themselves, in PEM form, where they
	// have other names or places. A relative path starts in Dir.
	Cert, Key, Bundle string
	// ForeignDir is a folder of bundles of other trust domains, whose workloads are
	// to be trusted to be who they say (what they may do is the policy's): each a file
	// named for its trust domain, partner.test.json with a SPIFFE bundle, or
	// partner.test.pem or .crt with certificates. Files may come, change and go. A
	// bundle vouches for its own trust domain only. Empty means none.
	ForeignDir string
	// Interval is how often the files are read again; zero means a second.
	Interval time.Duration
	// OnError is told, from the reading goroutine, each new reason why the
	// files cannot be used. Nil ignores it. It never contains file contents.
	OnError func(error)
}

// FileIdentity returns an identity kept in files that something else renews. It
// waits until the files are complete or ctx ends. After that it reads them again
// at every interval, by content (links that turn, as in Kubernetes mounts, defeat
// file events), and takes up a new set only if key, certificate and bundle
// belong together and the certificate is valid; until then the last good set stays.
// Bundles of other trust domains are taken up one by one: a bad one keeps the last
// good one of its domain, and holds up nothing else.
// Close ends the reading.
func FileIdentity(ctx context.Context, o FileOptions) (Identity, error) {
	if o.Dir == "" && (o.Cert == "" || o.Key == "" || o.Bundle == "") {
		return nil, errors.New("file identity: want a folder, or the paths of certificate, key and bundle")
	}
	f := &fileIdentity{
		cert:     place(o.Dir, o.Cert, certFile),
		key:      place(o.Dir, o.Key, keyFile),
		bundle:   place(o.Dir, o.Bundle, bundleFile),
		foreign:  o.ForeignDir,
		interval: o.Interval,
		onError:  o.OnError,
	}
	if f.interval <= 0 {
		f.interval = time.Second
	}
	if f.onError == nil {
		f.onError = func(error) {}
	}
	for {
		f.refresh()
		if f.current.Load() != nil {
			f.refreshForeign()
			break
		}
		if !sleep(ctx, min(f.interval, time.Second)) {
			return nil, fmt.Errorf("file identity: %w (%w)", f.failure, ctx.Err())
		}
	}
	poll, stop := context.WithCancel(context.WithoutCancel(ctx))
	f.stop = stop
	f.work.Go(func() {
		for sleep(poll, f.interval) {
			f.refresh()
			f.refreshForeign()
		}
	})
	return f, nil
}

func place(dir, path, fallback string) string {
	if path == "" {
		path = fallback
	}
	if filepath.IsAbs(path) {
		return path
	}
	return filepath.Join(dir, path)
}

type fileIdentity struct {
	cert, key, bundle string
	foreign           string // the folder, "" if there is none
	interval          time.Duration
	onError           func(error)
	stop              context.CancelFunc
	work              sync.WaitGroup

	current atomic.Pointer[identitySet]
	others  atomic.Pointer[foreign]

	// Only the reading goroutine uses these.
	seen           [sha256.Size]byte
	failure        error
	foreignFailure string
}

var _ Identity = (*fileIdentity)(nil)

// identitySet is one state of the files.
type identitySet struct {
	svid   *x509svid.SVID
	bundle *x509bundle.Bundle
}

// refresh reads the files and swaps the set if they have a new, good one.
func (f *fileIdentity) refresh() {
	set, sum, err := f.read()
	if err != nil {
		// The files may have been replaced between one and the next.
		set, sum, err = f.read()
	}
	switch {
	case err != nil:
		if f.failure == nil || f.failure.Error() != err.Error() {
			f.onError(fmt.Errorf("file identity: %w", err))
		}
		f.failure = err
	case set != nil:
		f.current.Store(set)
		f.seen, f.failure = sum, nil
	default:
		f.failure = nil
	}
}

// refreshForeign reads the bundles of other trust domains.
func (f *fileIdentity) refreshForeign() {
	if f.foreign == "" {
		return
	}
	var last foreign
	if p := f.others.Load(); p != nil {
		last = *p
	}
	next, err := readForeign(f.foreign, f.current.Load().svid.ID.TrustDomain(), last)
	f.others.Store(&next)
	text := ""
	if err != nil {
		if text = err.Error(); text != f.foreignFailure {
			f.onError(fmt.Errorf("file identity: %w", err))
		}
	}
	f.foreignFailure = text
}

// read returns nil if the files are those of the current set. Its errors name
// files and never quote them.
func (f *fileIdentity) read() (*identitySet, [sha256.Size]byte, error) {
	var none [sha256.Size]byte
	var texts [3][]byte
	hash := sha256.New()
	for i, path := range []string{f.cert, f.key, f.bundle} {
		text, err := os.ReadFile(path)
		if err != nil {
			return nil, none, err
		}
		part := sha256.Sum256(text)
		_, _ = hash.Write(part[:])
		texts[i] = text
	}
	sum := [sha256.Size]byte(hash.Sum(nil))
	if sum == f.seen {
		return nil, sum, nil
	}
	svid, err := x509svid.Parse(texts[0], texts[1])
	if err != nil {
		return nil, none, fmt.Errorf("certificate %s and key %s: %w", f.cert, f.key, err)
	}
	bundle, err := x509bundle.Parse(svid.ID.TrustDomain(), bytes.TrimSpace(texts[2]))
	if err != nil {
		return nil, none, fmt.Errorf("bundle %s: %w", f.bundle, err)
	}
	if _, _, err := x509svid.Verify(svid.Certificates, bundle); err != nil {
		return nil, none, fmt.Errorf("certificate %s under bundle %s: %w", f.cert, f.bundle, err)
	}
	return &identitySet{svid: svid, bundle: bundle}, sum, nil
}

// GetX509SVID returns the last good certificate and key.
func (f *fileIdentity) GetX509SVID() (*x509svid.SVID, error) {
	return f.current.Load().svid, nil
}

// GetX509BundleForTrustDomain returns the last good authorities.
func (f *fileIdentity) GetX509BundleForTrustDomain(domain spiffeid.TrustDomain) (*x509bundle.Bundle, error) {
	if others := f.others.Load(); others != nil && domain != f.current.Load().bundle.TrustDomain() {
		if known, ok := (*others)[domain]; ok {
			return known.bundle, nil
		}
	}
	return f.current.Load().bundle.GetX509BundleForTrustDomain(domain)
}

// Close ends the reading and waits for it.
func (f *fileIdentity) Close() error {
	f.stop()
	f.work.Wait()
	return nil
}
