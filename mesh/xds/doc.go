// Package xds makes clients of the mesh for targets "xds:///service", whose endpoints
// and routes an xDS server tells. gRPC's own resolver and balancers understand xDS;
// the mesh picks the endpoint beneath them, and stays above them with its deadlines,
// retries, hedges, egress and identities.
package xds
