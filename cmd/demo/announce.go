package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"text/template"
	"time"

	"github.com/portico-bff/portico/bff"
)

// Who the printed tokens are for.
const (
	customer = "usr-0003"
	admin    = "usr-0001"
)

// info is where the demo answers, for programs.
type info struct {
	HTTP   string            `json:"http"`
	Admin  string            `json:"admin"`
	MQTT   string            `json:"mqtt"`
	Tokens map[string]string `json:"tokens"`
	Device device            `json:"device"`
}

type device struct {
	ID       string `json:"id"`
	Username string `json:"username"`
	Password string `json:"password"`
}

// announce waits until everything answers, then prints where it is and writes the info file.
func announce(ctx context.Context, f flags, server *bff.Server, shop *backends, out io.Writer) error {
	at := server.Addresses()
	i := info{
		HTTP: "http://" + at.HTTP.String(), Admin: "http://" + at.Admin.String(), MQTT: "tcp://" + at.MQTT.String(),
		Tokens: map[string]string{},
	}
	var errs []error
	sign := func(subject, role string) string {
		token, err := shop.token(subject, role)
		errs = append(errs, err)
		return token
	}
	i.Tokens["customer"], i.Tokens["admin"] = sign(customer, "customer"), sign(admin, "admin")
	box := boxID(maxBoxes) // the last one to be simulated
	i.Device = device{ID: box, Username: box, Password: sign(box, "device")}
	if err := errors.Join(errs...); err != nil {
		return err
	}
	if err := waitReady(ctx, i.Admin+"/readyz", server.Upstreams); err != nil {
		return err
	}
	if f.info != "" {
		if err := writeInfo(f.info, i); err != nil {
			return err
		}
	}
	host, port, _ := strings.Cut(at.MQTT.String(), ":")
	return page().Execute(out, map[string]any{"info": i, "host": host, "port": port, "boxes": f.boxes})
}

// waitReady asks until the answer is 200 and all upstreams can be reached.
func waitReady(ctx context.Context, url string, upstreams func(context.Context) map[string]error) error {
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	last := errors.New("no answer")
	for {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, http.NoBody)
		if err != nil {
			return err
		}
		if resp, err := http.DefaultClient.Do(req); err == nil {
			body, _ := io.ReadAll(io.LimitReader(resp.Body, 4<<10))
			_ = resp.Body.Close()
			last = fmt.Errorf("%s: %s", resp.Status, body)
			if resp.StatusCode == http.StatusOK {
				last = errors.Join(slices.Collect(maps.Values(upstreams(ctx)))...)
			}
			if last == nil {
				return nil
			}
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return fmt.Errorf("not ready: %w (%w)", last, ctx.Err())
		}
	}
}

// writeInfo writes the file in one step: who sees it sees all of it.
func writeInfo(path string, i info) error {
	text, err := json.MarshalIndent(i, "", "  ")
	if err != nil {
		return err
	}
	temporary, err := os.CreateTemp(filepath.Dir(path), ".info-")
	if err != nil {
		return err
	}
	_, err = temporary.Write(append(text, '\n'))
	if err := errors.Join(err, temporary.Close()); err != nil {
		return err
	}
	return os.Rename(temporary.Name(), path)
}

// page is what the demo prints. Lines that begin with two spaces are commands to paste.
func page() *template.Template {
	return template.Must(template.New("page").Parse(`Portico is ready. Ctrl-C ends it and everything with it.

web     {{.info.HTTP}}/graphql (open it in a browser for the playground)
mobile  {{.info.HTTP}}/v1/...
iot     {{.info.MQTT}} ({{.boxes}} simulated boxes are publishing)
admin   {{.info.Admin}}/metrics

# Tokens, valid for 12 hours: a customer's (usr-0003), an admin's (usr-0001), a device's ({{.info.Device.ID}}).
customer={{.info.Tokens.customer}}
admin={{.info.Tokens.admin}}
device={{.info.Device.Password}}

# web: one GraphQL query over four services (orders, users, catalog, fleet)
  curl -sS {{.info.HTTP}}/graphql -H 'Content-Type: application/json' -H 'Authorization: Bearer {{.info.Tokens.customer}}' -d '{"query":"{ orders(first: 2) { orders { id total { minorUnits } customer { displayName } items { quantity product { title } } } } boxes { boxes { name latestReading { celsius } } } }"}'

# mobile: the same orders over REST, only the fields that are asked for
  curl -sS '{{.info.HTTP}}/v1/orders?page_size=2&fields=orders(orderId,state,total)' -H 'Authorization: Bearer {{.info.Tokens.customer}}'

# mobile: watch a box; leave it running and publish a reading from another terminal
  curl -sSN {{.info.HTTP}}/v1/boxes/{{.info.Device.ID}}/readings:watch -H 'Accept: text/event-stream' -H 'Authorization: Bearer {{.info.Tokens.customer}}'

# iot: publish a reading as {{.info.Device.ID}}
  mosquitto_pub -h {{.host}} -p {{.port}} -i {{.info.Device.ID}} -u {{.info.Device.Username}} -P {{.info.Device.Password}} -q 1 -t boxes/{{.info.Device.ID}}/telemetry -m '{"celsius": 3.5}'

# iot: the same without mosquitto
  go run ./cmd/bff mqtt pub --url {{.info.MQTT}} -u {{.info.Device.Username}} -P {{.info.Device.Password}} -t boxes/{{.info.Device.ID}}/telemetry -m '{"celsius": 3.6}'
`))
}
