package mesh

import (
	"context"

	"google.golang.org/grpc/metadata"

	"github.com/portico-bff/portico/mesh/internal/adaptive"
)

// Criticality says how important a call is: whether a server with too much to do
// rather refuses it or another. The words are those of Google's SRE book.
type Criticality string

// The criticalities, the most important first. A call that says nothing is Critical.
const (
	CriticalPlus  Criticality = "critical-plus"
	Critical      Criticality = "critical"
	SheddablePlus Criticality = "sheddable-plus"
	Sheddable     Criticality = "sheddable"
)

const (
	// criticalityHeader tells a server how important the call is.
	criticalityHeader = "x-mesh-criticality"
	// attemptsHeader tells it how many attempts there were before (gRFC A6).
	attemptsHeader = "grpc-previous-rpc-attempts"
)

type criticalityKey struct{}

// WithCriticality returns a context whose calls say that they are so important. A
// server believes more than Critical only from callers that its policy trusts
// (criticalityFrom of an Overload), and less from anybody. What a server hears and
// believes holds for the calls that it makes in turn with its handler's context.
func WithCriticality(ctx context.Context, c Criticality) context.Context {
	return context.WithValue(ctx, criticalityKey{}, c)
}

// sendCriticality puts the criticality of a call into its metadata, if it has one.
func sendCriticality(ctx context.Context) context.Context {
	c, ok := ctx.Value(criticalityKey{}).(Criticality)
	if !ok || len(outgoing(ctx, criticalityHeader)) > 0 {
		return ctx
	}
	return metadata.AppendToOutgoingContext(ctx, criticalityHeader, string(c))
}

// priority says how important a call is that is served. A trusted caller may say that
// it is more so than others. Whatever it is, a retry or a hedge is less, since it is
// the further attempts that keep an overloaded server so; nobody waits for a copy.
func priority(ctx context.Context, trusted bool) adaptive.Priority {
	p := adaptive.Critical
	if said := incoming(ctx, criticalityHeader); len(said) > 0 {
		switch Criticality(said[0]) {
		case CriticalPlus:
			if trusted {
				p = adaptive.CriticalPlus
			}
		case SheddablePlus:
			p = adaptive.SheddablePlus
		case Sheddable:
			p = adaptive.Sheddable
		case Critical:
		}
	}
	if len(incoming(ctx, mirrorHeader)) > 0 {
		return adaptive.Sheddable
	}
	if len(incoming(ctx, attemptsHeader)) > 0 {
		return p.Lower()
	}
	return p
}

// hand hands the criticality of a call that is served on to those that it makes.
func hand(ctx context.Context, trusted bool) context.Context {
	said := incoming(ctx, criticalityHeader)
	if len(said) == 0 {
		return ctx
	}
	switch c := Criticality(said[0]); c {
	case CriticalPlus:
		if !trusted {
			return ctx
		}
		return WithCriticality(ctx, c)
	case Critical, SheddablePlus, Sheddable:
		return WithCriticality(ctx, c)
	default:
		return ctx
	}
}
