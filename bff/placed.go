package bff

import (
	"errors"
	"fmt"
	"strings"

	"github.com/portico-bff/portico/bff/config"
	"github.com/portico-bff/portico/bff/config/mistake"
	"github.com/portico-bff/portico/schema"
)

// placed keeps the places of mistakes in the schema's own files, which are others than the configuration's. A nil err gives nil.
func placed(err error, sources []schema.Source) error {
	if err == nil {
		return nil
	}
	var problems config.Problems
	for _, m := range mistake.List(err) {
		own, ok := errors.AsType[*schema.Mistake](m.Err)
		if !ok {
			return err
		}
		problems = append(problems, config.Problem{
			File: own.File, Line: own.Line, Col: own.Column, Source: line(sources, own.File, own.Line),
			Text: strings.TrimPrefix(own.Error(), fmt.Sprintf("%s:%d:%d: ", own.File, own.Line, own.Column)),
		})
	}
	return &mistake.Mistake{What: "mistakes in the files", Err: problems}
}

// line is a line of a source, counted from 1; empty if there is none.
func line(sources []schema.Source, name string, n int) string {
	for _, s := range sources {
		if s.Name != name {
			continue
		}
		lines := strings.Split(string(s.Text), "\n")
		if n >= 1 && n <= len(lines) {
			return strings.TrimRight(lines[n-1], "\r")
		}
	}
	return ""
}
