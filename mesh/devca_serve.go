package mesh

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"time"

	"github.com/spiffe/go-spiffe/v2/proto/spiffe/workload"
	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"github.com/spiffe/go-spiffe/v2/svid/x509svid"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
)

// Serve opens a SPIFFE Workload API socket {dir}/{name}.sock for each named
// workload: whoever can open the socket is that workload. The folder is made
// with mode 0700, and on Linux (by SO_PEERCRED) only the user that the authority runs
// as is answered, and root; elsewhere the folder's mode is all that keeps others out.
// (A socket each, because inside one process, or under one user, all callers look
// alike to the kernel.)
//
// Serve returns once every socket answers; they are served until ctx ends or
// the authority is closed. Point [WorkloadAPI] at "unix://{dir}/{name}.sock".
func (ca *DevCA) Serve(ctx context.Context, dir string, names ...string) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("dev CA: making the socket folder: %w", err)
	}
	if err := os.Chmod(dir, 0o700); err != nil { //nolint:gosec // a folder needs its x bit
		return fmt.Errorf("dev CA: closing the socket folder to others: %w", err)
	}
	for _, name := range names {
		if err := ca.serveOne(ctx, filepath.Join(dir, name+".sock"), name); err != nil {
			return err
		}
	}
	return nil
}

func (ca *DevCA) serveOne(ctx context.Context, path, name string) error {
	id, err := ca.id(name)
	if err != nil {
		return err
	}
	// A socket left by a run that was killed would be in the way.
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("dev CA: removing an old socket: %w", err)
	}
	listener, err := new(net.ListenConfig).Listen(ctx, "unix", path)
	if err != nil {
		return fmt.Errorf("dev CA: opening a workload's socket: %w", err)
	}
	server := grpc.NewServer()
	workload.RegisterSpiffeWorkloadAPIServer(server, &workloadServer{ca: ca, id: id})
	ca.work.Go(func() {
		if err := server.Serve(&guarded{Listener: listener, refused: ca.onError}); err != nil {
			ca.onError(fmt.Errorf("dev CA: serving %s: %w", path, err))
		}
	})
	ca.work.Go(func() {
		select {
		case <-ctx.Done():
		case <-ca.ctx.Done():
		}
		server.Stop()
	})
	return nil
}

// workloadServer is the Workload API of one workload.
type workloadServer struct {
	workload.UnimplementedSpiffeWorkloadAPIServer
	ca *DevCA
	id spiffeid.ID
}

// FetchX509SVID sends a certificate, and a new one each time half a life is over.
func (s *workloadServer) FetchX509SVID(_ *workload.X509SVIDRequest, stream grpc.ServerStreamingServer[workload.X509SVIDResponse]) error {
	if err := checkWorkloadHeader(stream.Context()); err != nil {
		return err
	}
	for {
		svid, renew, err := s.ca.issue(s.id)
		if err != nil {
			return status.Error(codes.Internal, err.Error())
		}
		answer, err := workloadAnswer(svid, s.ca.root.Raw)
		if err != nil {
			return status.Error(codes.Internal, err.Error())
		}
		if err := stream.Send(answer); err != nil {
			return err
		}
		if !sleep(stream.Context(), time.Until(renew)) {
			return status.FromContextError(stream.Context().Err()).Err()
		}
	}
}

// FetchX509Bundles sends the root, which never changes, and keeps the stream.
func (s *workloadServer) FetchX509Bundles(_ *workload.X509BundlesRequest, stream grpc.ServerStreamingServer[workload.X509BundlesResponse]) error {
	if err := checkWorkloadHeader(stream.Context()); err != nil {
		return err
	}
	bundles := map[string][]byte{s.ca.domain.IDString(): s.ca.root.Raw}
	if err := stream.Send(&workload.X509BundlesResponse{Bundles: bundles}); err != nil {
		return err
	}
	<-stream.Context().Done()
	return status.FromContextError(stream.Context().Err()).Err()
}

// checkWorkloadHeader refuses calls without the header that the Workload API
// asks for, which keeps out requests forged through another program.
func checkWorkloadHeader(ctx context.Context) error {
	md, _ := metadata.FromIncomingContext(ctx)
	if values := md.Get("workload.spiffe.io"); len(values) != 1 || values[0] != "true" {
		return status.Error(codes.InvalidArgument, "security header missing from request")
	}
	return nil
}

func workloadAnswer(svid *x509svid.SVID, root []byte) (*workload.X509SVIDResponse, error) {
	key, err := x509.MarshalPKCS8PrivateKey(svid.PrivateKey)
	if err != nil {
		return nil, fmt.Errorf("encoding the key of %s: %w", svid.ID, err)
	}
	return &workload.X509SVIDResponse{Svids: []*workload.X509SVID{{
		SpiffeId:    svid.ID.String(),
		X509Svid:    svid.Certificates[0].Raw,
		X509SvidKey: key,
		Bundle:      root,
	}}}, nil
}

// sleep waits and says whether the whole time has passed before ctx ended.
func sleep(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}
