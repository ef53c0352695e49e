package mesh

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"math/big"
	"net/url"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/spiffe/go-spiffe/v2/bundle/x509bundle"
	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"github.com/spiffe/go-spiffe/v2/svid/x509svid"
)

const (
	devCADefaultTTL = time.Hour
	devCAMinTTL     = time.Second
	devCARootLife   = 365 * 24 * time.Hour
	devCARootFile   = "root.pem"
)

// DevCAOptions configures a [DevCA].
type DevCAOptions struct {
	// TrustDomain is the SPIFFE trust domain it issues for, such as
	// "shop.test". Required.
	TrustDomain string
	// Dir keeps the root in a file of mode 0600, so that certificates of an
	// earlier run stay valid. Empty keeps it in memory only.
	Dir string
	// TTL is the life of a certificate; zero means one hour. Certificates are
	// renewed when half of it has passed.
	TTL time.Duration
	// OnError is told what went wrong in the background (a folder that can no
	// longer be written, say). Nil ignores it. It is called from several
	// goroutines.
	OnError func(error)
	// AllowProduction starts it although the environment says that this is
	// production: see [NewDevCA].
	AllowProduction bool
}

// DevCA is a certificate authority for development and tests. It keeps its
// root's key in plain reach and gives a certificate for any name to whoever can
// ask: never run it in production, where SPIRE or cert-manager take its place
// and the workloads stay as they are.
//
// It hands out identities in three ways: in process ([DevCA.Identity]), over the
// SPIFFE Workload API ([DevCA.Serve]), and as files ([DevCA.WriteFiles]). It is
// safe for concurrent use.
type DevCA struct {
	domain  spiffeid.TrustDomain
	ttl     time.Duration
	onError func(error)
	key     *ecdsa.PrivateKey
	root    *x509.Certificate
	bundle  *x509bundle.Bundle

	ctx    context.Context //nolint:containedctx // ends the background work at Close
	cancel context.CancelFunc
	work   sync.WaitGroup
}

// NewDevCA makes a development certificate authority, or takes up the one whose
// root is kept in o.Dir. It refuses where one of the environment variables MESH_ENV,
// APP_ENV and ENVIRONMENT is "production" or "prod", unless o.AllowProduction is set.
func NewDevCA(o DevCAOptions) (*DevCA, error) {
	if where := inProduction(); where != "" && !o.AllowProduction {
		return nil, fmt.Errorf("dev CA: %s: it is for development and tests; use SPIRE, or files that cert-manager renews", where)
	}
	domain, err := spiffeid.TrustDomainFromString(o.TrustDomain)
	if err != nil {
		return nil, fmt.Errorf("dev CA: trust domain %q: %w", o.TrustDomain, err)
	}
	if o.TTL == 0 {
		o.TTL = devCADefaultTTL
	}
	if o.TTL < devCAMinTTL {
		return nil, fmt.Errorf("dev CA: a certificate's life of %v is too short: X.509 counts whole seconds", o.TTL)
	}
	ca := &DevCA{domain: domain, ttl: o.TTL, onError: o.OnError}
	if ca.onError == nil {
		ca.onError = func(error) {}
	}
	if err := ca.loadRoot(o.Dir); err != nil {
		return nil, fmt.Errorf("dev CA: %w", err)
	}
	ca.bundle = x509bundle.FromX509Authorities(domain, []*x509.Certificate{ca.root})
	ca.ctx, ca.cancel = context.WithCancel(context.Background())
	return ca, nil
}

// Close ends what [DevCA.Serve] and [DevCA.WriteFiles] do in the background and
// waits for it. Identities in process go on with the certificate they have.
func (ca *DevCA) Close() error {
	ca.cancel()
	ca.work.Wait()
	return nil
}

// Identity returns the identity of the workload with that name, for use in this
// process: spiffe://{trust domain}/{name}. It renews its certificate by itself.
func (ca *DevCA) Identity(name string) (Identity, error) {
	id, err := ca.id(name)
	if err != nil {
		return nil, err
	}
	return &devIdentity{ca: ca, id: id}, nil
}

func (ca *DevCA) id(name string) (spiffeid.ID, error) {
	id, err := spiffeid.FromSegments(ca.domain, name)
	if err != nil {
		return spiffeid.ID{}, fmt.Errorf("dev CA: workload name %q: %w", name, err)
	}
	return id, nil
}

// issue signs a certificate for a fresh key and says when to renew it.
func (ca *DevCA) issue(id spiffeid.ID) (*x509svid.SVID, time.Time, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, time.Time{}, fmt.Errorf("dev CA: making a key for %s: %w", id, err)
	}
	serial, err := serialNumber()
	if err != nil {
		return nil, time.Time{}, err
	}
	now := time.Now()
	template := &x509.Certificate{
		SerialNumber: serial,
		Subject:      pkix.Name{Organization: []string{"Development only"}},
		NotBefore:    now,
		// X.509 drops parts of a second: rounded up, half of the life is left
		// when the certificate is renewed.
		NotAfter:    now.Add(ca.ttl + time.Second - 1),
		URIs:        []*url.URL{id.URL()},
		KeyUsage:    x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
		// RFC 5280 wants it in every certificate that is no authority.
		BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, ca.root, &key.PublicKey, ca.key)
	if err != nil {
		return nil, time.Time{}, fmt.Errorf("dev CA: signing for %s: %w", id, err)
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, time.Time{}, fmt.Errorf("dev CA: reading back the certificate of %s: %w", id, err)
	}
	return &x509svid.SVID{ID: id, Certificates: []*x509.Certificate{leaf}, PrivateKey: key}, now.Add(ca.ttl / 2), nil
}

// loadRoot takes the root from its file, or makes one (and the file).
func (ca *DevCA) loadRoot(dir string) error {
	if dir == "" {
		return ca.newRoot()
	}
	path := filepath.Join(dir, devCARootFile)
	text, err := os.ReadFile(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
	case err != nil:
		return fmt.Errorf("reading its root: %w", err)
	default:
		if err := ca.parseRoot(text); err != nil {
			return fmt.Errorf("root in %s: %w", path, err)
		}
		if time.Now().Before(ca.root.NotAfter.Add(-ca.ttl)) {
			return nil
		}
	}
	if err := ca.newRoot(); err != nil {
		return err
	}
	der, err := x509.MarshalPKCS8PrivateKey(ca.key)
	if err != nil {
		return fmt.Errorf("encoding its root's key: %w", err)
	}
	text = append(
		pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}),
		pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: ca.root.Raw})...)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("making the folder of its root: %w", err)
	}
	return writeFile(path, text, 0o600)
}

func (ca *DevCA) parseRoot(text []byte) error {
	svid, rest := pem.Decode(text)
	cert, _ := pem.Decode(rest)
	if svid == nil || cert == nil || svid.Type != "PRIVATE KEY" || cert.Type != "CERTIFICATE" {
		return errors.New("want a PRIVATE KEY and a CERTIFICATE in PEM form")
	}
	key, err := x509.ParsePKCS8PrivateKey(svid.Bytes)
	if err != nil {
		return errors.New("the private key cannot be read")
	}
	root, err := x509.ParseCertificate(cert.Bytes)
	if err != nil {
		return fmt.Errorf("the certificate cannot be read: %w", err)
	}
	signer, ok := key.(*ecdsa.PrivateKey)
	if !ok || !signer.PublicKey.Equal(root.PublicKey) {
		return errors.New("key and certificate do not belong together")
	}
	if len(root.URIs) != 1 || root.URIs[0].String() != ca.domain.IDString() {
		return fmt.Errorf("it was made for another trust domain than %s", ca.domain)
	}
	ca.key, ca.root = signer, root
	return nil
}

func (ca *DevCA) newRoot() error {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return fmt.Errorf("making its root's key: %w", err)
	}
	serial, err := serialNumber()
	if err != nil {
		return err
	}
	now := time.Now()
	template := &x509.Certificate{
		SerialNumber:          serial,
		Subject:               pkix.Name{Organization: []string{"Development only"}, CommonName: ca.domain.Name()},
		NotBefore:             now,
		NotAfter:              now.Add(devCARootLife),
		URIs:                  []*url.URL{ca.domain.ID().URL()},
		KeyUsage:              x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
		IsCA:                  true,
		BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		return fmt.Errorf("signing its root: %w", err)
	}
	root, err := x509.ParseCertificate(der)
	if err != nil {
		return fmt.Errorf("reading back its root: %w", err)
	}
	ca.key, ca.root = key, root
	return nil
}

func serialNumber() (*big.Int, error) {
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 127))
	if err != nil {
		return nil, fmt.Errorf("dev CA: making a serial number: %w", err)
	}
	return serial, nil
}

// devIdentity is an identity that its authority renews when asked for it.
type devIdentity struct {
	ca *DevCA
	id spiffeid.ID

	mu    sync.Mutex // guards svid and renew
	svid  *x509svid.SVID
	renew time.Time
}

var _ Identity = (*devIdentity)(nil)

// GetX509SVID returns the current certificate and key.
func (i *devIdentity) GetX509SVID() (*x509svid.SVID, error) {
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.svid != nil && time.Now().Before(i.renew) {
		return i.svid, nil
	}
	svid, renew, err := i.ca.issue(i.id)
	if err != nil {
		return nil, err
	}
	i.svid, i.renew = svid, renew
	return svid, nil
}

// GetX509BundleForTrustDomain returns the authority's root.
func (i *devIdentity) GetX509BundleForTrustDomain(domain spiffeid.TrustDomain) (*x509bundle.Bundle, error) {
	return i.ca.bundle.GetX509BundleForTrustDomain(domain)
}

// Close does nothing: there is nothing in the background.
func (i *devIdentity) Close() error { return nil }
