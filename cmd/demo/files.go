package main

import (
	"embed"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"

	"github.com/portico-bff/portico/cmd/shop/policy"
	"github.com/portico-bff/portico/protos"
	"github.com/portico-bff/portico/schema"
	"github.com/portico-bff/portico/schema/shop"
)

//go:embed portico.yaml queries
var own embed.FS

// writeFiles writes the demo's configuration and all that it names below dir, laid out as in the repository, so that
// its relative paths hold. It returns the path of the configuration.
func writeFiles(dir string) (string, error) {
	files := map[string][]byte{"protos/gen/shop.binpb": protos.Shop(), "cmd/shop/policy/mesh.yaml": policy.YAML()}
	if err := collect(own, "cmd/demo", files); err != nil {
		return "", err
	}
	for _, sources := range []func() ([]schema.Source, error){shop.SDL, shop.Operations} {
		list, err := sources()
		if err != nil {
			return "", err
		}
		for _, s := range list {
			files["schema/shop/"+s.Name] = s.Text
		}
	}
	for name, text := range files {
		target := filepath.Join(dir, filepath.FromSlash(name))
		if err := os.MkdirAll(filepath.Dir(target), 0o700); err != nil {
			return "", err
		}
		if err := os.WriteFile(target, text, 0o600); err != nil {
			return "", err
		}
	}
	return filepath.Join(dir, "cmd", "demo", "portico.yaml"), nil
}

// collect adds every file of a tree, its name below prefix.
func collect(tree fs.FS, prefix string, files map[string][]byte) error {
	return fs.WalkDir(tree, ".", func(name string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		text, err := fs.ReadFile(tree, name)
		if err != nil {
			return fmt.Errorf("read the embedded %s: %w", name, err)
		}
		files[path.Join(prefix, name)] = text
		return nil
	})
}
