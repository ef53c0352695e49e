// A peer of the mesh that is not written in Go: grpc-js with the files of a FileIdentity.
//
//   node peer.js serve FOLDER CALLER          prints its port; answers CALLER, and refuses others
//   node peer.js call FOLDER ADDRESS SERVER MILLISECONDS   calls SERVER at ADDRESS, and prints a line for each call
//
// FOLDER has tls.crt, tls.key and ca.crt; CALLER and SERVER are SPIFFE ids.
'use strict';

const grpc = require('@grpc/grpc-js');
const path = require('path');

// Messages stay bytes: this peer needs no .proto file.
const bytes = (value) => value;
const service = {
  echo: {
    path: '/mesh.test.Echo/Echo',
    requestStream: false, responseStream: false,
    requestSerialize: bytes, requestDeserialize: bytes,
    responseSerialize: bytes, responseDeserialize: bytes,
  },
};

// files reads an identity again when it is renewed.
function files(folder) {
  return new grpc.experimental.FileWatcherCertificateProvider({
    certificateFile: path.join(folder, 'tls.crt'),
    privateKeyFile: path.join(folder, 'tls.key'),
    caCertificateFile: path.join(folder, 'ca.crt'),
    refreshIntervalMs: 200,
  });
}

// spiffeID is whom a verified certificate is for: the one URI in it.
function spiffeID(certificate) {
  const names = (certificate && certificate.subjectaltname) || '';
  return /^URI:spiffe:\/\/[^,\s"]+$/.test(names) ? names.slice('URI:'.length) : '';
}

function serve(folder, caller) {
  const identity = files(folder);
  // TLS looks at a certificate once: callers are to come back before theirs has ended. A third of its life is right.
  const server = new grpc.Server({ 'grpc.max_connection_age_ms': 1000, 'grpc.max_connection_age_grace_ms': 1000 });
  server.addService(service, {
    echo(call, answer) {
      // A certificate of the trust domain is not enough: who may call is said here.
      if (spiffeID(call.getAuthContext().sslPeerCertificate) !== caller) {
        answer({ code: grpc.status.PERMISSION_DENIED, details: 'not for this caller' });
        return;
      }
      answer(null, call.request);
    },
  });
  const credentials = grpc.experimental.createCertificateProviderServerCredentials(identity, identity, true);
  server.bindAsync('127.0.0.1:0', credentials, (error, port) => {
    if (error) throw error;
    // Until the files have been read, connections are reset.
    const ready = (update) => { if (update) setImmediate(() => console.log(port)); };
    identity.addIdentityCertificateListener(ready);
  });
}

function call(folder, address, expected, milliseconds) {
  const identity = files(folder);
  const credentials = grpc.experimental.createCertificateProviderChannelCredentials(identity, identity, {
    rejectUnauthorized: true,
    // Servers of the mesh are known by their SPIFFE ids and have no names.
    checkServerIdentity(_name, certificate) {
      const got = spiffeID(certificate);
      return got === expected ? undefined : new Error(`unexpected server ${got}`);
    },
  });
  const client = new (grpc.makeGenericClientConstructor(service, 'Echo'))(address, credentials);
  const end = Date.now() + milliseconds;
  const next = () => {
    client.echo(Buffer.from('\x0a\x05hello'), { deadline: Date.now() + 5000 }, (error, reply) => {
      console.log(error ? `${error.code} ${error.details}` : `0 ${reply.subarray(2)}`);
      if (Date.now() < end) setTimeout(next, 50);
      else client.close();
    });
  };
  next();
}

const [command, ...args] = process.argv.slice(2);
if (command === 'serve') serve(...args);
else if (command === 'call') call(args[0], args[1], args[2], Number(args[3]));
else throw new Error(`unknown command ${command}`);
