package bridge

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"google.golang.org/protobuf/reflect/protoreflect"

	"github.com/portico-bff/portico/bff/config/mistake"
	"github.com/portico-bff/portico/bff/iot/topic"
	"github.com/portico-bff/portico/upstream"
	"github.com/portico-bff/portico/upstream/wire"
)

// Plan is what [Compile] makes of the configuration. It is immutable.
type Plan struct {
	uplinks   []*uplink
	downlinks []*downlink
}

// Filters are the topic filters of the uplinks, in their order.
func (p *Plan) Filters() []string {
	out := make([]string, 0, len(p.uplinks))
	for _, u := range p.uplinks {
		out = append(out, u.topic.Filter())
	}
	return out
}

// Publishes are filters of all topics that the bridge publishes to.
func (p *Plan) Publishes() []string {
	var out []string
	for _, d := range p.downlinks {
		out = append(out, d.topic.Filter())
	}
	for _, u := range p.uplinks {
		if u.deadLetter != "" && !slices.Contains(out, u.deadLetter) {
			out = append(out, u.deadLetter)
		}
	}
	return out
}

// Compile checks uplinks and downlinks against the descriptors. The error joins every mistake, with paths that start
// at "uplinks" and "downlinks".
func Compile(uplinks []Uplink, downlinks []Downlink, d *upstream.Descriptors) (*Plan, error) {
	p := &Plan{}
	var errs []error
	for i, cfg := range uplinks {
		u, err := compileUplink(cfg.withDefaults(), d)
		errs = append(errs, mistake.In(err, "uplinks", strconv.Itoa(i)))
		p.uplinks = append(p.uplinks, u)
	}
	for i, cfg := range downlinks {
		dl, err := compileDownlink(cfg, d)
		errs = append(errs, mistake.In(err, "downlinks", strconv.Itoa(i)))
		p.downlinks = append(p.downlinks, dl)
	}
	errs = append(errs, p.overlaps())
	if err := errors.Join(errs...); err != nil {
		return nil, err
	}
	return p, nil
}

// overlaps finds uplinks that a message could go to twice, and messages of our own that would come back.
func (p *Plan) overlaps() error {
	var errs []error
	for i, u := range p.uplinks {
		if u.topic == nil {
			continue
		}
		for j, other := range p.uplinks {
			if other.topic == nil {
				continue
			}
			if j < i && topic.Overlap(u.topic.Filter(), other.topic.Filter()) {
				errs = append(errs, mistake.At(
					fmt.Sprintf("topic %q overlaps with %q of uplink %d", u.topic, other.topic, j), "uplinks", strconv.Itoa(i), "topic"))
			}
			if other.deadLetter != "" && topic.Overlap(u.topic.Filter(), other.deadLetter) {
				errs = append(errs, mistake.At(
					fmt.Sprintf("dead letters would come back through the uplink %q", u.topic), "uplinks", strconv.Itoa(j), "dead_letter"))
			}
		}
		for j, d := range p.downlinks {
			if d.topic != nil && topic.Overlap(u.topic.Filter(), d.topic.Filter()) {
				errs = append(errs, mistake.At(
					fmt.Sprintf("messages would come back through the uplink %q", u.topic), "downlinks", strconv.Itoa(j), "topic"))
			}
		}
	}
	return errors.Join(errs...)
}

// method finds a method, or says which name is near.
func method(name string, d *upstream.Descriptors) (*upstream.Method, *mistake.Mistake) {
	if m, ok := d.Method(name); ok {
		return m, nil
	}
	wrong := mistake.At(fmt.Sprintf("unknown method %q", name), "method")
	var known []string
	for _, service := range d.Services() {
		for _, m := range d.Methods(service) {
			known = append(known, m.Name)
		}
	}
	wrong.Nearest = mistake.Nearest(name, known)
	return nil, wrong
}

// field finds a field of md itself by its proto or JSON name.
func field(md protoreflect.MessageDescriptor, name string, path ...string) (protoreflect.FieldDescriptor, *mistake.Mistake) {
	if fd := md.Fields().ByName(protoreflect.Name(name)); fd != nil {
		return fd, nil
	}
	if fd := md.Fields().ByJSONName(name); fd != nil {
		return fd, nil
	}
	wrong := mistake.At(fmt.Sprintf("%s has no field %q", md.FullName(), name), path...)
	var known []string
	for i := range md.Fields().Len() {
		known = append(known, string(md.Fields().Get(i).Name()))
	}
	wrong.Nearest = mistake.Nearest(name, known)
	return nil, wrong
}

// downlink is a compiled [Downlink].
type downlink struct {
	method  *upstream.Method
	topic   *topic.Template
	values  map[string]*wire.Path // of the topic's variables
	expires *wire.Path            // nil for never
	render  *wire.Renderer
}

const messagePrefix = "message."

func compileDownlink(cfg Downlink, d *upstream.Descriptors) (*downlink, error) {
	dl := &downlink{values: make(map[string]*wire.Path)}
	var errs []error
	add := func(m *mistake.Mistake) { errs = append(errs, m) }
	var err error
	if dl.topic, err = topic.ParseTemplate(cfg.Topic); err != nil {
		add(mistake.At(err.Error(), "topic"))
	}
	m, wrong := method(cfg.Method, d)
	if wrong != nil {
		return dl, errors.Join(append(errs, wrong)...)
	}
	if m.ClientStreaming || !m.ServerStreaming {
		add(&mistake.Mistake{Path: []string{"method"}, What: fmt.Sprintf("%q is no such method", m.Name), Expected: "one with server streaming"})
	}
	dl.method = m
	if dl.topic != nil {
		for _, name := range dl.topic.Names() {
			path, ok := strings.CutPrefix(name, messagePrefix)
			if !ok {
				add(&mistake.Mistake{Path: []string{"topic"}, What: fmt.Sprintf("unknown variable {%s}", name), Expected: "{message.FIELD}"})
				continue
			}
			if dl.values[name], err = singular(m.Output, path); err != nil {
				add(mistake.At(err.Error(), "topic"))
			}
		}
	}
	if cfg.Expires != "" {
		if dl.expires, err = wire.NewPath(m.Output, cfg.Expires); err != nil {
			add(mistake.At(err.Error(), "expires"))
		} else if f := dl.expires.Field(); f.IsList() || f.Message() == nil || f.Message().FullName() != timestampName {
			add(mistake.At(fmt.Sprintf("%q is no google.protobuf.Timestamp", cfg.Expires), "expires"))
		}
	}
	if dl.render, err = wire.NewRenderer(m.Output, nil, wire.RenderOptions{Resolver: d.Types()}); err != nil {
		add(mistake.At(err.Error(), "method"))
	}
	return dl, errors.Join(errs...)
}

const timestampName = "google.protobuf.Timestamp"

// singular is the path of a scalar that is not repeated.
func singular(md protoreflect.MessageDescriptor, path string) (*wire.Path, error) {
	p, err := wire.NewPath(md, path)
	if err != nil {
		return nil, err
	}
	if f := p.Field(); f.IsList() || f.IsMap() || f.Message() != nil {
		return nil, fmt.Errorf("%q is no scalar", path)
	}
	return p, nil
}
