package edge

import (
	"errors"
	"fmt"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/portico-bff/portico/bff/config/mistake"
	"github.com/portico-bff/portico/bff/config/unit"
)

// Config bounds HTTP requests, and says which web pages may send them. The zero value has the defaults.
type Config struct {
	// Body bounds a request's body, and one message on a WebSocket: 1MiB if 0.
	Body unit.Bytes `yaml:"body" json:"body,omitempty" jsonschema_description:"Largest request body, and largest message on a WebSocket; 1MiB by default."`
	// Header bounds a request's line and headers together: 32KiB if 0.
	Header unit.Bytes `yaml:"header" json:"header,omitempty" jsonschema_description:"Largest request line and headers together; 32KiB by default."`
	// ReadTimeout is how long a client may take to send its headers, and then its body: 10s if 0.
	ReadTimeout time.Duration `yaml:"read_timeout" json:"read_timeout,omitempty" jsonschema_description:"How long a client may take to send its headers, and then its body; 10s by default."`
	// WriteTimeout is how long a request may take until its answer is sent, but for streams, which have time for each
	// message: 1m if 0.
	WriteTimeout time.Duration `yaml:"write_timeout" json:"write_timeout,omitempty" jsonschema_description:"How long a request may take until its answer is sent, except on streams; 1m by default."`
	// IdleTimeout is how long a connection may wait for its next request: 2m if 0.
	IdleTimeout time.Duration `yaml:"idle_timeout" json:"idle_timeout,omitempty" jsonschema_description:"How long a connection may wait for its next request; 2m by default."`
	// CORS lets pages of other origins send requests; without it, none can.
	CORS *CORS `yaml:"cors" json:"cors,omitempty" jsonschema_description:"Lets web pages of other origins send requests."`
}

// CORS says which pages of other origins may send requests and read answers.
type CORS struct {
	// Origins lists origins such as https://app.example.com; https://*.example.com is every name below, * is every
	// origin.
	Origins []string `yaml:"origins" json:"origins" jsonschema:"minItems=1" jsonschema_description:"Origins like https://app.example.com or https://*.example.com; * is every origin."`
	// Headers lists request headers that pages may send beside the usual ones.
	Headers []string `yaml:"headers" json:"headers,omitempty" jsonschema_description:"Request headers that pages may send beside the usual ones."`
	// Expose lists response headers that pages may read beside the usual ones, such as those that an upstream's "respond"
	// lists.
	Expose []string `yaml:"expose" json:"expose,omitempty" jsonschema_description:"Response headers that pages may read beside the usual ones."`
	// Credentials lets pages send cookies and client certificates along.
	Credentials bool `yaml:"credentials" json:"credentials,omitempty" jsonschema_description:"Lets pages send cookies and client certificates along."`
	// MaxAge is how long browsers may remember the answer to a preflight request: 1h if 0.
	MaxAge time.Duration `yaml:"max_age" json:"max_age,omitempty" jsonschema_description:"How long browsers may remember what is allowed; 1h by default."`
}

// WithDefaults returns c with its defaults filled in.
func (c Config) WithDefaults() Config {
	set := func(d *time.Duration, def time.Duration) {
		if *d == 0 {
			*d = def
		}
	}
	if c.Body == 0 {
		c.Body = 1 << 20
	}
	if c.Header == 0 {
		c.Header = 32 << 10
	}
	set(&c.ReadTimeout, 10*time.Second)
	set(&c.WriteTimeout, time.Minute)
	set(&c.IdleTimeout, 2*time.Minute)
	if c.CORS != nil {
		cors := *c.CORS
		set(&cors.MaxAge, time.Hour)
		c.CORS = &cors
	}
	return c
}

// Origins lists the origins of CORS, as patterns for WebSocket handshakes; nil without CORS.
func (c Config) Origins() []string {
	if c.CORS == nil {
		return nil
	}
	return c.CORS.Origins
}

// Validate returns a [mistake.Mistake] for everything that is wrong, joined.
func (c Config) Validate() error {
	var errs []error
	for name, size := range map[string]unit.Bytes{"body": c.Body, "header": c.Header} {
		if size < 0 || size > 1<<30 {
			errs = append(errs, &mistake.Mistake{Path: []string{name}, What: fmt.Sprintf("the size %d is out of range", size), Expected: "at most 1GiB"})
		}
	}
	for name, d := range map[string]time.Duration{"read_timeout": c.ReadTimeout, "write_timeout": c.WriteTimeout, "idle_timeout": c.IdleTimeout} {
		if d < 0 {
			errs = append(errs, mistake.At("a time limit is negative", name))
		}
	}
	if c.CORS != nil {
		errs = append(errs, mistake.In(c.CORS.validate(), "cors"))
	}
	return errors.Join(errs...)
}

func (c *CORS) validate() error {
	var errs []error
	if len(c.Origins) == 0 {
		errs = append(errs, &mistake.Mistake{Path: []string{"origins"}, What: "no origins", Expected: "at least one, or no cors at all"})
	}
	for i, origin := range c.Origins {
		at := []string{"origins", strconv.Itoa(i)}
		if origin == "*" {
			if c.Credentials {
				errs = append(errs, &mistake.Mistake{
					Path: at, What: "every origin could act in the name of a browser's user", Expected: "origins by name with credentials: true",
				})
			}
			continue
		}
		u, err := url.Parse(origin)
		if err != nil || u.Scheme != "https" && u.Scheme != "http" || u.Host == "" || u.Path != "" || u.RawQuery != "" ||
			u.Fragment != "" || u.User != nil || strings.Count(origin, "*") > 1 {
			errs = append(errs, &mistake.Mistake{
				Path: at, What: fmt.Sprintf("%q is no origin", origin), Expected: "one like https://app.example.com or https://*.example.com",
			})
		}
	}
	if c.MaxAge < 0 {
		errs = append(errs, mistake.At("a time is negative", "max_age"))
	}
	return errors.Join(errs...)
}
