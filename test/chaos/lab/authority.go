package lab

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"math/big"
	"net/url"
	"path/filepath"
	"time"
)

// Authority is a certificate authority that signs anything, good or bad; who wants
// good certificates only has the mesh's DevCA.
type Authority struct {
	key  *ecdsa.PrivateKey
	cert *x509.Certificate
}

// NewAuthority makes an authority of that trust domain.
func NewAuthority(domain string) (*Authority, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	now := time.Now()
	template := &x509.Certificate{
		SerialNumber: big.NewInt(now.UnixNano()), Subject: pkix.Name{Organization: []string{domain}},
		NotBefore: now.Add(-24 * time.Hour), NotAfter: now.Add(24 * time.Hour),
		URIs: []*url.URL{{Scheme: "spiffe", Host: domain}}, KeyUsage: x509.KeyUsageCertSign,
		IsCA: true, BasicConstraintsValid: true,
	}
	a := &Authority{key: key}
	a.cert, err = a.sign(template, template, key)
	return a, err
}

func (a *Authority) sign(template, parent *x509.Certificate, key *ecdsa.PrivateKey) (*x509.Certificate, error) {
	der, err := x509.CreateCertificate(rand.Reader, template, parent, &key.PublicKey, a.key)
	if err != nil {
		return nil, err
	}
	return x509.ParseCertificate(der)
}

// Leaf says what a certificate is.
type Leaf struct {
	// URIs and Names are whom it is for.
	URIs, Names []string
	// From and Until are when it is valid, from now; zero From is a minute ago, and zero
	// Until an hour from now.
	From, Until time.Duration
}

// Issue makes a certificate and its key.
func (a *Authority) Issue(leaf Leaf) (tls.Certificate, error) {
	if leaf.From == 0 {
		leaf.From = -time.Minute
	}
	if leaf.Until == 0 {
		leaf.Until = time.Hour
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return tls.Certificate{}, err
	}
	now := time.Now()
	template := &x509.Certificate{
		SerialNumber: big.NewInt(now.UnixNano()), DNSNames: leaf.Names,
		NotBefore: now.Add(leaf.From), NotAfter: now.Add(leaf.Until),
		KeyUsage: x509.KeyUsageDigitalSignature, BasicConstraintsValid: true,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	for _, text := range leaf.URIs {
		uri, err := url.Parse(text)
		if err != nil {
			return tls.Certificate{}, err
		}
		template.URIs = append(template.URIs, uri)
	}
	cert, err := a.sign(template, a.cert, key)
	if err != nil {
		return tls.Certificate{}, err
	}
	return tls.Certificate{Certificate: [][]byte{cert.Raw}, PrivateKey: key, Leaf: cert}, nil
}

// WriteIdentity writes, or replaces, the files of an identity (the mesh's FileIdentity) that
// trusts the authorities.
func WriteIdentity(dir string, cert tls.Certificate, trusted ...*Authority) error {
	key, err := x509.MarshalPKCS8PrivateKey(cert.PrivateKey)
	if err != nil {
		return err
	}
	var bundle []byte
	for _, a := range trusted {
		bundle = append(bundle, encode("CERTIFICATE", a.cert.Raw)...)
	}
	return errors.Join(
		Rewrite(filepath.Join(dir, "ca.crt"), string(bundle)),
		Rewrite(filepath.Join(dir, "tls.key"), string(encode("PRIVATE KEY", key))),
		Rewrite(filepath.Join(dir, "tls.crt"), string(encode("CERTIFICATE", cert.Certificate[0]))))
}

func encode(kind string, der []byte) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der})
}
