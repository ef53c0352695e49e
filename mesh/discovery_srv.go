package mesh

import (
	"cmp"
	"context"
	"fmt"
	"net"
	"slices"
	"strconv"
	"strings"
	"time"
)

// lookupSRV finds the SRV records of a whole name, such as _grpc._tcp.orders.shop.
type lookupSRV func(ctx context.Context, name string) ([]*net.SRV, error)

// systemSRV asks the system's resolver.
func systemSRV(ctx context.Context, name string) ([]*net.SRV, error) {
	_, records, err := net.DefaultResolver.LookupSRV(ctx, "", "", name)
	return records, err
}

// pollSRV looks SRV records up again and again, and the addresses of the hosts that
// they name. Of RFC 2782's priorities only the first counts; weights do not, since
// load is known better here.
func pollSRV(find lookupSRV, hosts lookup, name string, interval time.Duration) watch {
	return poll(interval, func(ctx context.Context) ([]Endpoint, error) {
		ctx, cancel := context.WithTimeout(ctx, dnsLookupTimeout)
		defer cancel()
		records, err := find(ctx, name)
		if err != nil {
			return nil, err
		}
		records = slices.Clone(records)
		var endpoints []Endpoint
		slices.SortFunc(records, func(a, b *net.SRV) int { return cmp.Compare(a.Priority, b.Priority) })
		for _, r := range records {
			if r.Priority > records[0].Priority {
				break
			}
			addresses, err := hosts(ctx, strings.TrimSuffix(r.Target, "."))
			if err != nil {
				return nil, fmt.Errorf("%s: %w", r.Target, err)
			}
			for _, a := range addresses {
				endpoints = append(endpoints, Endpoint{Address: net.JoinHostPort(a, strconv.Itoa(int(r.Port)))})
			}
		}
		slices.SortFunc(endpoints, func(a, b Endpoint) int { return strings.Compare(a.Address, b.Address) })
		return slices.CompactFunc(endpoints, Endpoint.equal), nil
	})
}
