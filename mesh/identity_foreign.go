package mesh

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/spiffe/go-spiffe/v2/bundle/spiffebundle"
	"github.com/spiffe/go-spiffe/v2/bundle/x509bundle"
	"github.com/spiffe/go-spiffe/v2/spiffeid"
)

// foreign is the authorities of other trust domains, by trust domain.
type foreign map[spiffeid.TrustDomain]foreignBundle

// foreignBundle is the authorities of one, and the file that they were in.
type foreignBundle struct {
	bundle *x509bundle.Bundle
	sum    [sha256.Size]byte
}

// readForeign reads a folder of bundles. For a domain whose file is not good the last
// good bundle stays, and the error says why; whose file is gone is not trusted any more.
func readForeign(dir string, own spiffeid.TrustDomain, last foreign) (foreign, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return last, err
	}
	next := foreign{}
	var wrong []error
	for _, entry := range entries {
		name := entry.Name()
		if strings.HasPrefix(name, ".") { // such as Kubernetes' "..data"
			continue
		}
		path := filepath.Join(dir, name)
		domain, err := spiffeid.TrustDomainFromString(strings.TrimSuffix(name, filepath.Ext(name)))
		if err == nil && domain == own {
			err = errors.New("it is for the workload's own trust domain, whose authorities are elsewhere")
		}
		if _, twice := next[domain]; err == nil && twice {
			err = errors.New("a second file for the same trust domain")
		}
		if err != nil {
			wrong = append(wrong, fmt.Errorf("foreign bundle %s: %w", path, err))
			continue
		}
		bundle, err := readForeignFile(path, domain, last[domain])
		if err != nil {
			wrong = append(wrong, fmt.Errorf("foreign bundle %s: %w", path, err))
			bundle = last[domain]
		}
		if bundle.bundle != nil {
			next[domain] = bundle
		}
	}
	return next, errors.Join(wrong...)
}

// readForeignFile reads a bundle by the end of its file's name, unless it is the last.
func readForeignFile(path string, domain spiffeid.TrustDomain, last foreignBundle) (foreignBundle, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return foreignBundle{}, err
	}
	sum := sha256.Sum256(text)
	if last.bundle != nil && sum == last.sum {
		return last, nil
	}
	var bundle *x509bundle.Bundle
	switch filepath.Ext(path) {
	case ".json":
		whole, err := spiffebundle.Parse(domain, text)
		if err != nil {
			return foreignBundle{}, err
		}
		bundle = whole.X509Bundle()
	case ".pem", ".crt":
		if bundle, err = x509bundle.Parse(domain, bytes.TrimSpace(text)); err != nil {
			return foreignBundle{}, err
		}
	default:
		return foreignBundle{}, errors.New("want a SPIFFE bundle in a .json file, or certificates in a .pem or .crt file")
	}
	authorities := bundle.X509Authorities()
	if len(authorities) == 0 {
		return foreignBundle{}, errors.New("it has no X.509 authority")
	}
	for _, authority := range authorities {
		if !authority.IsCA {
			return foreignBundle{}, errors.New("a certificate in it is no authority")
		}
	}
	return foreignBundle{bundle: bundle, sum: sum}, nil
}
