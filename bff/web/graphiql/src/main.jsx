import { createRoot } from 'react-dom/client';
import { GraphiQL } from 'graphiql';
import { createGraphiQLFetcher } from '@graphiql/toolkit';
import { createClient } from 'graphql-ws';
import 'graphiql/setup-workers/vite';
import 'graphiql/style.css';

// The page stands below the endpoint, whose address the server has put into <base>.
const endpoint = new URL(document.baseURI).pathname.replace(/\/$/, '');
const socketURL = new URL(endpoint, window.location.href);
socketURL.protocol = socketURL.protocol === 'https:' ? 'wss:' : 'ws:';

// fetcher sends what the headers tab holds with each request; a WebSocket cannot carry headers, so there they go
// into the payload of connection_init.
function fetcher(params, options) {
  const headers = options?.headers ?? {};
  const wsClient = createClient({ url: socketURL.href, connectionParams: { headers }, lazy: true, retryAttempts: 0 });
  return createGraphiQLFetcher({ url: endpoint, wsClient })(params, options);
}

// start fetches the saved queries, if the server has any, and shows the page.
async function start() {
  let tabs = [];
  try {
    const response = await fetch(new URL('queries.json', document.baseURI));
    if (response.ok) {
      tabs = await response.json();
    }
  } catch {
    // Without saved queries the page starts with an empty tab.
  }
  createRoot(document.getElementById('graphiql')).render(
    <GraphiQL
      fetcher={fetcher}
      defaultTabs={tabs.length > 0 ? tabs : undefined}
      defaultEditorToolsVisibility="headers"
      shouldPersistHeaders
    />,
  );
}

start();
