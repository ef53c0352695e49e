package mesh

import (
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
)

// SetChance replaces what the mesh draws from [0, 1), before its first call.
func (m *Mesh) SetChance(draw func() float64) { m.chance = draw }

// NewPlaintextClient is NewClient without transport security, which the mesh has for
// nobody: it shows what everything else costs.
func (m *Mesh) NewPlaintextClient(target string, opts ...grpc.DialOption) (*grpc.ClientConn, error) {
	return m.newClient(target, opts, grpc.WithTransportCredentials(insecure.NewCredentials()))
}
