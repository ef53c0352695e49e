// Package bff assembles Portico's server from its parts: it compiles a configuration into the core and its doors,
// opens the listeners, and drains everything in order when it stops.
//
// [Check] says what is wrong with a configuration without opening anything. [New] makes a [Server] that listens;
// [Server.Run] serves until its context ends.
package bff
