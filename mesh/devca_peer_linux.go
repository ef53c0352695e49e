package mesh

import (
	"fmt"
	"net"
	"syscall"
)

// socketUser returns the user at the other end of a unix socket, by SO_PEERCRED.
func socketUser(conn *net.UnixConn) (uid int, known bool, err error) {
	raw, err := conn.SyscallConn()
	if err != nil {
		return 0, false, err
	}
	var cred *syscall.Ucred
	var failed error
	if err := raw.Control(func(fd uintptr) {
		cred, failed = syscall.GetsockoptUcred(int(fd), syscall.SOL_SOCKET, syscall.SO_PEERCRED)
	}); err != nil {
		return 0, false, err
	}
	if failed != nil {
		return 0, false, fmt.Errorf("asking for a socket's peer: %w", failed)
	}
	return int(cred.Uid), true, nil
}
