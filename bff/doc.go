// Package bff assembles Portico's server from its parts: it compiles a configuration into the core and its doors,
// opens the listeners, and drains everything in order when it stops.
//
// [Check] says what is wrong with a configuration without opening anything. [New] makes a [Server] that listens;
// [Server.Run] serves until its context ends.
//
// What follows from a configuration and the files it names is one runtime behind one pointer. [Server.Reload] builds the
// next one beside it and puts it in its place, or changes nothing. A request is inside one runtime from its beginning to its
// end; an earlier runtime is closed when nobody is inside any more, or when its streams have lingered long enough. Listeners,
// the mesh and the MQTT door are the process's: the MQTT door calls through whichever runtime is the current one.
package bff
