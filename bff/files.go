package bff

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"

	"github.com/portico-bff/portico/bff/config/mistake"
	"github.com/portico-bff/portico/schema"
)

// maxSource bounds each SDL and operation file.
const maxSource = 4 << 20

// readSources reads the files that patterns name, each once, in the order of their names. Mistakes carry the index of
// their pattern.
func readSources(patterns []string) ([]schema.Source, error) {
	var errs []error
	var names []string
	for i, pattern := range patterns {
		found, err := filepath.Glob(pattern)
		if err == nil && len(found) == 0 {
			err = fmt.Errorf("no file fits %s", pattern)
		}
		errs = append(errs, mistake.In(err, strconv.Itoa(i)))
		names = append(names, found...)
	}
	slices.Sort(names)
	var sources []schema.Source
	for _, name := range slices.Compact(names) {
		text, err := os.ReadFile(name)
		if err == nil && len(text) > maxSource {
			err = fmt.Errorf("%s is over %d bytes", name, maxSource)
		}
		if err != nil {
			errs = append(errs, err)
			continue
		}
		sources = append(sources, schema.Source{Name: name, Text: text})
	}
	return sources, errors.Join(errs...)
}
