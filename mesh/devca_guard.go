package mesh

import (
	"fmt"
	"net"
	"os"
	"strings"
)

// environmentVariables are what commonly says where a program runs.
func environmentVariables() []string { return []string{"MESH_ENV", "APP_ENV", "ENVIRONMENT"} }

// inProduction says which variable says that this is production, "" if none does.
func inProduction() string {
	for _, name := range environmentVariables() {
		switch value := os.Getenv(name); strings.ToLower(value) {
		case "production", "prod":
			return name + "=" + value
		}
	}
	return ""
}

// guarded is a listener that takes connections of the process's own user, and of root,
// who can have anything anyway.
type guarded struct {
	net.Listener

	refused func(error)
}

// Accept waits for the next connection that may be.
func (g *guarded) Accept() (net.Conn, error) {
	for {
		conn, err := g.Listener.Accept()
		if err != nil {
			return nil, err
		}
		if err := sameUser(conn); err != nil {
			_ = conn.Close()
			g.refused(fmt.Errorf("dev CA: %s: %w", g.Addr(), err))
			continue
		}
		return conn, nil
	}
}

// sameUser says why the other end of a socket may not be answered.
func sameUser(conn net.Conn) error {
	socket, ok := conn.(*net.UnixConn)
	if !ok {
		return fmt.Errorf("a %T is no unix socket", conn)
	}
	uid, known, err := socketUser(socket)
	if err != nil {
		return err
	}
	if own := os.Getuid(); known && uid != own && uid != 0 {
		return fmt.Errorf("user %d asked for the identity of a workload of user %d", uid, own)
	}
	return nil
}
