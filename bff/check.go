package bff

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"slices"
	"strconv"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/portico-bff/portico/bff/auth"
	"github.com/portico-bff/portico/bff/config"
	"github.com/portico-bff/portico/bff/config/mistake"
	"github.com/portico-bff/portico/bff/iot"
	"github.com/portico-bff/portico/schema"
	"github.com/portico-bff/portico/upstream"
)

// Check reports everything that is wrong with a configuration, without listening, dialing or waiting for anything. Where
// descriptors come from servers that would have to be asked, what depends on them is not checked, and a warning says so.
// The error is of type [config.Problems] if the configuration is to blame.
func Check(ctx context.Context, file *config.File) (warnings []string, err error) {
	cfg := &file.Config
	descriptors, skipped, err := upstream.LoadOffline(ctx, cfg.Descriptors)
	switch {
	case err != nil:
		return nil, file.Locate(descriptorMistakes(err))
	case descriptors != nil:
		return checkAll(ctx, file, descriptors)
	}
	for _, i := range skipped {
		warnings = append(warnings, skipWarning(file, i))
	}
	err = errors.Join(checkMesh(cfg.Mesh), checkListeners(&cfg.Listen), mistake.In(cfg.LimitsHTTP.Validate(), "limits_http"))
	a, authErr := auth.New(ctx, cfg.Auth, auth.Options{Logger: slog.New(slog.DiscardHandler)})
	if a != nil {
		a.Close()
	}
	return warnings, file.Locate(errors.Join(err, mistake.In(authErr, "auth")))
}

// CheckOnline is [Check], but servers that describe themselves are asked. For those in the mesh it waits for this
// server's identity until ctx ends.
func CheckOnline(ctx context.Context, file *config.File) (warnings []string, err error) {
	cfg := &file.Config
	var dialer upstream.Dialer
	meshed := func(s upstream.DescriptorSource) bool { return s.Online() && s.TLS.Mode == upstream.TLSMesh }
	if cfg.Mesh != nil && slices.ContainsFunc(cfg.Descriptors, meshed) {
		none := func(string) bool { return false }
		m, err := join(ctx, cfg.Mesh, none, slog.New(slog.DiscardHandler), nil, nil)
		if err != nil {
			return nil, file.Locate(mistake.In(err, "mesh"))
		}
		defer func() { err = errors.Join(err, m.Close()) }()
		dialer = m
	}
	descriptors, err := upstream.LoadOnline(ctx, cfg.Descriptors, dialer)
	if err != nil {
		return nil, file.Locate(descriptorMistakes(err))
	}
	return checkAll(ctx, file, descriptors)
}

// checkAll checks everything beside the descriptors.
func checkAll(ctx context.Context, file *config.File, descriptors *upstream.Descriptors) (warnings []string, err error) {
	env := environment{logger: slog.New(slog.DiscardHandler), metrics: prometheus.NewRegistry(), mesh: unreachable{}}
	parts, err := compile(ctx, &file.Config, descriptors, env)
	err = errors.Join(err, checkMesh(file.Config.Mesh), checkListeners(&file.Config.Listen))
	if file.Config.IoT != nil {
		err = errors.Join(err, mistake.In(iot.Check(*file.Config.IoT, descriptors), "iot"))
	}
	if parts != nil {
		warnings = parts.warnings()
		err = errors.Join(err, parts.close())
	}
	return warnings, file.Locate(err)
}

// skipWarning says what is not checked for want of a source's descriptors.
func skipWarning(file *config.File, i int) string {
	target := file.Config.Descriptors[i].Reflect
	text := target + " is asked for its services only by serve and check --online: services, methods, routes and SDL are not checked"
	at := file.Locate(mistake.At("", "descriptors", strconv.Itoa(i)))
	if ps, ok := errors.AsType[config.Problems](at); ok {
		return fmt.Sprintf("%s:%d:%d: %s", ps[0].File, ps[0].Line, ps[0].Col, text)
	}
	return text
}

// descriptorMistakes puts mistakes below the section of the descriptors, but keeps the places of those in proto files.
func descriptorMistakes(err error) error {
	var errs []error
	var problems config.Problems
	for _, m := range mistake.List(err) {
		own, ok := errors.AsType[*upstream.ProtoError](m.Err)
		if !ok || own.Line == 0 {
			errs = append(errs, m)
			continue
		}
		p := config.Problem{File: own.File, Line: own.Line, Col: own.Column, Text: own.What}
		if text, err := os.ReadFile(own.File); err == nil {
			p.Source = line([]schema.Source{{Name: own.File, Text: text}}, own.File, own.Line)
		}
		problems = append(problems, p)
	}
	if len(problems) > 0 {
		errs = append(errs, &mistake.Mistake{What: "mistakes in the files", Err: problems})
	}
	return mistake.In(errors.Join(errs...), "descriptors")
}
