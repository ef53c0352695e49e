package mesh

import (
	"context"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/spiffe/go-spiffe/v2/spiffeid"
)

// Names of identity files, as Kubernetes secrets, cert-manager and
// csi-driver-spiffe write them.
const (
	certFile   = "tls.crt"
	keyFile    = "tls.key"
	bundleFile = "ca.crt"
)

// WriteFiles writes for each named workload the files that [FileIdentity] reads:
// {dir}/{name}/tls.crt, tls.key (mode 0600) and ca.crt, owned by the user it
// runs as. The three are replaced together, by renaming a symbolic link to a
// fresh folder as Kubernetes does, so a reader never meets half of an update.
//
// WriteFiles returns once the first files are written; they are renewed until
// ctx ends or the authority is closed.
func (ca *DevCA) WriteFiles(ctx context.Context, dir string, names ...string) error {
	for _, name := range names {
		id, err := ca.id(name)
		if err != nil {
			return err
		}
		folder := filepath.Join(dir, name)
		renew, err := ca.writeOne(folder, id)
		if err != nil {
			return err
		}
		ca.work.Go(func() { ca.rewrite(ctx, folder, id, renew) })
	}
	return nil
}

// rewrite renews a workload's files; what fails is tried again after a tenth of
// a certificate's life.
func (ca *DevCA) rewrite(ctx context.Context, folder string, id spiffeid.ID, renew time.Time) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(ca.ctx, cancel)() //nolint:contextcheck // it ends with either context
	for sleep(ctx, time.Until(renew)) {
		next, err := ca.writeOne(folder, id)
		if err != nil {
			ca.onError(err)
			next = time.Now().Add(ca.ttl / 10)
		}
		renew = next
	}
}

// writeOne issues a certificate and swaps it into the folder.
func (ca *DevCA) writeOne(folder string, id spiffeid.ID) (renew time.Time, err error) {
	svid, renew, err := ca.issue(id)
	if err != nil {
		return time.Time{}, err
	}
	cert, key, err := svid.Marshal()
	if err != nil {
		return time.Time{}, fmt.Errorf("dev CA: encoding the certificate of %s: %w", id, err)
	}
	root := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: ca.root.Raw})
	if err := swapFiles(folder, cert, key, root); err != nil {
		return time.Time{}, fmt.Errorf("dev CA: writing the files of %s: %w", id, err)
	}
	return renew, nil
}

// swapFiles puts the three files into a folder of their own and turns the link
// that the visible names go through.
func swapFiles(folder string, cert, key, bundle []byte) error {
	if err := os.MkdirAll(folder, 0o700); err != nil {
		return err
	}
	fresh, err := os.MkdirTemp(folder, "..issued-")
	if err != nil {
		return err
	}
	for _, file := range []struct {
		name string
		text []byte
		mode fs.FileMode
	}{{keyFile, key, 0o600}, {bundleFile, bundle, 0o644}, {certFile, cert, 0o644}} {
		if err := writeFile(filepath.Join(fresh, file.name), file.text, file.mode); err != nil {
			return err
		}
	}
	current := filepath.Join(folder, "..data")
	old, err := os.Readlink(current)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err := replaceLink(filepath.Base(fresh), current); err != nil {
		return err
	}
	for _, name := range []string{keyFile, bundleFile, certFile} {
		path := filepath.Join(folder, name)
		if target, err := os.Readlink(path); err == nil && target == filepath.Join("..data", name) {
			continue
		}
		if err := replaceLink(filepath.Join("..data", name), path); err != nil {
			return err
		}
	}
	if old == "" || filepath.Base(old) != old {
		return nil
	}
	return os.RemoveAll(filepath.Join(folder, old))
}

// replaceLink makes path a symbolic link to target, in one step.
func replaceLink(target, path string) error {
	next := path + ".next"
	if err := os.Remove(next); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err := os.Symlink(target, next); err != nil {
		return err
	}
	return os.Rename(next, path)
}

// writeFile replaces a file in one step.
func writeFile(path string, text []byte, mode fs.FileMode) error {
	next := path + ".next"
	if err := os.WriteFile(next, text, mode); err != nil {
		return err
	}
	return os.Rename(next, path)
}
