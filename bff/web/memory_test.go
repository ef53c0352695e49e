package web

import (
	"strconv"
	"strings"
	"testing"

	"github.com/99designs/gqlgen/graphql"
)

// Clients choose what is remembered, so what they choose must not add up.
func TestMemoryIsBounded(t *testing.T) {
	t.Parallel()
	m, err := newPersisted()
	if err != nil {
		t.Fatal(err)
	}
	m.Add(t.Context(), "kept", "short")
	if got, ok := m.Get(t.Context(), "kept"); !ok || got != "short" {
		t.Errorf("got %q, %v", got, ok)
	}
	for i := range 100 {
		m.Add(t.Context(), strconv.Itoa(i), strings.Repeat("x", 1<<20))
	}
	m.entries.CleanUp()
	if got := m.entries.WeightedSize(); got > persistedTexts {
		t.Errorf("%d bytes are remembered, expected at most %d", got, persistedTexts)
	}
}

// The second time, the same text is neither parsed nor planned.
func TestPlansAreRemembered(t *testing.T) {
	t.Parallel()
	schema, err := testSchema()
	if err != nil {
		t.Fatal(err)
	}
	executable, err := newExecutable(schema, answers(), &presenter{})
	if err != nil {
		t.Fatal(err)
	}
	doc, errs := schema.Parse("test", "{ __typename }")
	if len(errs) > 0 {
		t.Fatal(errs)
	}
	opCtx := &graphql.OperationContext{Doc: doc, Operation: doc.Operations[0]}
	first, err := executable.plan(opCtx)
	if err != nil {
		t.Fatal(err)
	}
	second, err := executable.plan(opCtx)
	if err != nil || first != second {
		t.Errorf("planned twice: %v", err)
	}
}
