package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"time"

	"github.com/portico-bff/portico/bff"
	"github.com/portico-bff/portico/bff/config"
)

const (
	// maxBoxes is how many boxes the fleet service knows.
	maxBoxes = 6
	// startTimeout bounds the start until everything answers.
	startTimeout = 60 * time.Second
	// tokenLife is how long the printed tokens are valid.
	tokenLife = 12 * time.Hour
)

// demo runs everything until ctx ends.
func demo(ctx context.Context, f flags, out, log io.Writer) (err error) {
	data, remove, err := dataFolder(f.data)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, remove()) }()
	logger, closeLog, err := openLog(f, data, log)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, closeLog()) }()

	start, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	shop, err := openBackends(start, data, logger)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, shop.close()) }()

	server, err := openPortico(start, f, data, shop, logger)
	if err != nil {
		return err
	}
	return serve(ctx, f, server, shop, out, logger)
}

// serve runs the server and the boxes until ctx ends; once everything answers it says where.
func serve(ctx context.Context, f flags, server *bff.Server, shop *backends, out io.Writer, logger *slog.Logger) error {
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	served := make(chan error, 1)
	go func() { served <- server.Run(ctx) }()

	err := announce(ctx, f, server, shop, out)
	var boxes sync.WaitGroup
	if err == nil {
		for i := range f.boxes {
			id := boxID(i + 1)
			token, tokenErr := shop.token(id, "device")
			if tokenErr != nil {
				err = tokenErr
				break
			}
			boxes.Go(func() { simulate(ctx, "tcp://"+server.Addresses().MQTT.String(), id, token, logger) })
		}
	}
	if err != nil {
		stop()
	}
	select {
	case runErr := <-served: // also when the server breaks on its own
		stop()
		boxes.Wait()
		return errors.Join(err, runErr)
	case <-shop.failed:
		stop()
		boxes.Wait()
		return errors.Join(err, <-served, errors.New("a service has ended"))
	}
}

// openPortico writes the configuration below the data folder and opens the doors with it.
func openPortico(ctx context.Context, f flags, data string, shop *backends, logger *slog.Logger) (*bff.Server, error) {
	path, err := writeFiles(filepath.Join(data, "config"))
	if err != nil {
		return nil, fmt.Errorf("write the configuration: %w", err)
	}
	env := map[string]string{
		"PORTICO_HTTP": f.http, "PORTICO_MQTT": f.mqtt, "PORTICO_ADMIN": f.admin,
		"PORTICO_STORE":        filepath.Join(data, "mqtt"),
		"PORTICO_WORKLOAD_API": "unix://" + shop.socket,
		"ISSUER_JWKS":          shop.jwks,
	}
	maps.Copy(env, shop.targets)
	file, err := config.Load(path, func(name string) (string, bool) { v, ok := env[name]; return v, ok })
	if err != nil {
		return nil, err
	}
	return bff.New(ctx, file, bff.Extensions{Logger: logger})
}

// dataFolder makes the data folder, and says how to remove it if it is a temporary one.
func dataFolder(dir string) (data string, remove func() error, err error) {
	if dir == "" {
		dir, err = os.MkdirTemp("", "portico-demo-")
		return dir, func() error { return os.RemoveAll(dir) }, err
	}
	if data, err = filepath.Abs(dir); err != nil {
		return "", nil, err
	}
	return data, func() error { return nil }, os.MkdirAll(data, 0o700)
}

func openLog(f flags, data string, stderr io.Writer) (*slog.Logger, func() error, error) {
	if f.verbose {
		return slog.New(slog.NewJSONHandler(stderr, nil)), func() error { return nil }, nil
	}
	file, err := os.OpenFile(filepath.Join(data, "demo.log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, nil, err
	}
	return slog.New(slog.NewJSONHandler(file, nil)), file.Close, nil
}

// boxID is the id of the n-th box, counted from 1.
func boxID(n int) string { return "box-" + fmt.Sprintf("%04s", strconv.Itoa(n)) }
