// Command mesh is the smallest client of the mesh, to be compared with the one of bare grpc-go: how large it is, and how
// much memory it takes. Its arguments are an address, a method, a folder with an identity and a policy file.
package main

import (
	"context"
	"errors"
	"io"
	"os"
	"time"

	"github.com/portico-bff/portico/mesh"

	"github.com/portico-bff/portico/test/bench/mesh/client/calls"
)

func main() {
	if err := run(os.Args[1:], os.Stdin, os.Stdout); err != nil {
		_, _ = io.WriteString(os.Stderr, err.Error()+"\n")
		os.Exit(1)
	}
}

func run(args []string, in io.Reader, out io.Writer) (err error) {
	if len(args) != 4 {
		return errors.New("expected: mesh ADDRESS METHOD FOLDER POLICY")
	}
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	identity, err := mesh.FileIdentity(ctx, mesh.FileOptions{Dir: args[2]})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, identity.Close()) }()
	m, err := mesh.New(ctx, mesh.Options{Identity: identity, PolicyFile: args[3]})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, m.Close()) }()
	conn, err := m.NewClient("static:///" + args[0])
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, conn.Close()) }()
	return calls.Run(conn, args[1], in, out)
}
