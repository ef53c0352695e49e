package mesh

import (
	"fmt"
	"strings"
	"time"

	"github.com/portico-bff/portico/mesh/internal/outlier"
)

// OutlierExplanation says when an endpoint is left out of balancing, and for how long.
// Its zero value is a destination that never leaves one out.
type OutlierExplanation struct {
	// ConsecutiveGatewayErrors and Consecutive5xxErrors in a row eject; zero never does.
	ConsecutiveGatewayErrors, Consecutive5xxErrors int
	// SuccessRateStdev ejects endpoints whose success rate is so many standard
	// deviations below the mean, once an Interval; zero does not compare them.
	SuccessRateStdev float64
	Interval         time.Duration
	// BaseEjection is the first ejection's length; the n-th is n times as long, up to
	// MaxEjection.
	BaseEjection, MaxEjection time.Duration
	// MaxEjectionPercent is the greatest share of endpoints ejected at a time.
	MaxEjectionPercent int
}

func explainOutlier(c *outlier.Config) OutlierExplanation {
	if c.ConsecutiveGatewayErrors == 0 && c.Consecutive5xxErrors == 0 && c.SuccessRate == (outlier.SuccessRate{}) {
		return OutlierExplanation{}
	}
	return OutlierExplanation{
		ConsecutiveGatewayErrors: c.ConsecutiveGatewayErrors, Consecutive5xxErrors: c.Consecutive5xxErrors,
		SuccessRateStdev: float64(c.SuccessRate.StdevFactor) / 1000, Interval: c.Interval,
		BaseEjection: c.BaseEjection, MaxEjection: c.MaxEjection, MaxEjectionPercent: c.MaxEjectionPercent,
	}
}

// write tells it in a line.
func (e *OutlierExplanation) write(b *strings.Builder) {
	var when []string
	if e.ConsecutiveGatewayErrors > 0 {
		when = append(when, fmt.Sprintf("after %d gateway errors in a row", e.ConsecutiveGatewayErrors))
	}
	if e.Consecutive5xxErrors > 0 {
		when = append(when, fmt.Sprintf("after %d errors in a row", e.Consecutive5xxErrors))
	}
	if e.SuccessRateStdev > 0 {
		when = append(when, fmt.Sprintf("if worse than the others by %g standard deviations in %v", e.SuccessRateStdev, e.Interval))
	}
	if len(when) == 0 {
		return
	}
	fmt.Fprintf(b, "  ejection: %s; for %v to %v, at most %d%% at a time\n", strings.Join(when, ", "), e.BaseEjection, e.MaxEjection, e.MaxEjectionPercent)
}
