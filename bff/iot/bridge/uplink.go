package bridge

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/reflect/protoreflect"

	"github.com/portico-bff/portico/bff/config/mistake"
	"github.com/portico-bff/portico/bff/iot/topic"
	"github.com/portico-bff/portico/upstream"
	"github.com/portico-bff/portico/upstream/wire"
)

// uplink is a compiled [Uplink].
type uplink struct {
	topic      *topic.Template
	method     *upstream.Method
	into       protoreflect.FieldDescriptor // nil: a payload is a request
	batch      Batch
	parser     *wire.Parser
	builder    *wire.Builder
	assign     []assignment
	dedup      *dedup
	replaced   map[protowire.Number]bool // fields that assign and dedup write
	results    *results
	deadLetter string
}

// assignment writes the capture with that index, or a text if it is negative, to a field.
type assignment struct {
	slot    *wire.Slot
	capture int
	text    string
}

type dedup struct {
	into *wire.Slot
	from *wire.Path // may be nil
}

type results struct {
	field, state *wire.Path
	reason       *wire.Path // may be nil
	refused      map[protoreflect.EnumNumber]bool
}

func compileUplink(cfg Uplink, d *upstream.Descriptors) (*uplink, error) {
	u := &uplink{batch: cfg.Batch, deadLetter: cfg.DeadLetter, replaced: make(map[protowire.Number]bool)}
	var errs []error
	var err error
	if u.topic, err = topic.ParseTemplate(cfg.Topic); err != nil {
		errs = append(errs, mistake.At(err.Error(), "topic"))
	}
	if cfg.DeadLetter != "" {
		if err := topic.CheckName(cfg.DeadLetter); err != nil {
			errs = append(errs, mistake.At(err.Error(), "dead_letter"))
		}
	}
	for _, p := range cfg.Payload {
		if p != payloadJSON {
			errs = append(errs, &mistake.Mistake{Path: []string{"payload"}, What: fmt.Sprintf("unknown encoding %q", p), Expected: payloadJSON})
		}
	}
	if cfg.UnknownFields != unknownRefuse && cfg.UnknownFields != unknownIgnore {
		errs = append(errs, &mistake.Mistake{
			Path: []string{"unknown_fields"}, What: fmt.Sprintf("%q", cfg.UnknownFields), Expected: "refuse or ignore",
		})
	}
	if cfg.Batch.Max < 0 || cfg.Batch.Max > maxBatch {
		errs = append(errs, mistake.At(fmt.Sprintf("%d messages, expected 1 to %d", cfg.Batch.Max, maxBatch), "batch", "max"))
	}
	if cfg.Batch.Linger < 0 || cfg.Batch.Linger > maxLinger {
		errs = append(errs, mistake.At(fmt.Sprintf("%s, expected at most %s", cfg.Batch.Linger, maxLinger), "batch", "linger"))
	}
	m, wrong := method(cfg.Method, d)
	if wrong != nil {
		return u, errors.Join(append(errs, wrong)...)
	}
	u.method = m
	if !m.Unary() {
		errs = append(errs, &mistake.Mistake{Path: []string{"method"}, What: fmt.Sprintf("%q streams", m.Name), Expected: "a unary method"})
	}
	errs = append(errs, u.compileMessage(cfg, d), u.compileResults(cfg))
	return u, errors.Join(errs...)
}

// compileMessage compiles what a payload becomes.
func (u *uplink) compileMessage(cfg Uplink, d *upstream.Descriptors) error {
	element := u.method.Input
	if cfg.Into != "" {
		fd, wrong := field(u.method.Input, cfg.Into, "into")
		switch {
		case wrong != nil:
			return wrong
		case !fd.IsList() || fd.Message() == nil:
			return &mistake.Mistake{Path: []string{"into"}, What: fmt.Sprintf("%q is %s", cfg.Into, fd.Kind()), Expected: "a repeated message field"}
		}
		u.into, element = fd, fd.Message()
	}
	options := wire.ParseOptions{DiscardUnknown: cfg.UnknownFields == unknownIgnore, Resolver: d.Types()}
	u.builder = wire.NewBuilder(element, options)
	var errs []error
	var err error
	if u.parser, err = wire.NewParser(element, options); err != nil {
		errs = append(errs, err)
	}
	for _, name := range slices.Sorted(maps.Keys(cfg.Set)) {
		errs = append(errs, u.compileSet(element, name, cfg.Set[name]))
	}
	if cfg.Dedup != nil {
		errs = append(errs, u.compileDedup(element, *cfg.Dedup))
	}
	return errors.Join(errs...)
}

func (u *uplink) compileSet(element protoreflect.MessageDescriptor, name, value string) error {
	fd, wrong := field(element, name, "set", name)
	if wrong != nil {
		wrong.Key = true
		return wrong
	}
	if fd.IsList() || fd.IsMap() {
		return &mistake.Mistake{Path: []string{"set", name}, Key: true, What: fmt.Sprintf("%q is repeated", name), Expected: "a singular field"}
	}
	slot, err := u.builder.Slot(name)
	if err != nil {
		return mistake.In(err, "set", name)
	}
	a := assignment{slot: slot, capture: -1, text: value}
	if strings.ContainsAny(value, "{}") {
		capture, ok := strings.CutPrefix(value, "{topic.")
		capture, closed := strings.CutSuffix(capture, "}")
		var known []string
		if u.topic != nil {
			known = u.topic.Names()
		}
		a.capture = slices.Index(known, capture)
		if !ok || !closed || a.capture < 0 {
			return &mistake.Mistake{
				Path: []string{"set", name}, What: fmt.Sprintf("unknown template %q", value),
				Expected: "a text or {topic.CAPTURE}", Nearest: nearestCapture(capture, known),
			}
		}
	} else if err := u.builder.New().SetText(slot, value); err != nil {
		return mistake.In(err, "set", name)
	}
	u.assign = append(u.assign, a)
	u.replaced[fd.Number()] = true
	return nil
}

func nearestCapture(name string, known []string) string {
	if n := mistake.Nearest(name, known); n != "" {
		return "{topic." + n + "}"
	}
	return ""
}

func (u *uplink) compileDedup(element protoreflect.MessageDescriptor, cfg Dedup) error {
	fd, wrong := field(element, cfg.Into, "dedup", "into")
	switch {
	case wrong != nil:
		return wrong
	case fd.Kind() != protoreflect.StringKind || fd.IsList():
		return &mistake.Mistake{Path: []string{"dedup", "into"}, What: fmt.Sprintf("%q is %s", cfg.Into, fd.Kind()), Expected: "a string field"}
	case u.replaced[fd.Number()]:
		return mistake.At(fmt.Sprintf("%q is also under set", cfg.Into), "dedup", "into")
	}
	slot, err := u.builder.Slot(cfg.Into)
	if err != nil {
		return mistake.In(err, "dedup", "into")
	}
	u.dedup = &dedup{into: slot}
	u.replaced[fd.Number()] = true
	if cfg.From != "" {
		if u.dedup.from, err = singular(element, cfg.From); err != nil {
			return mistake.In(err, "dedup", "from")
		}
	}
	return nil
}

func (u *uplink) compileResults(cfg Uplink) error {
	r := cfg.Results
	switch {
	case r == nil:
		return nil
	case cfg.Into == "":
		return mistake.At("results need into", "results")
	case u.into == nil:
		return nil // what is wrong with into is reported already
	}
	fd, wrong := field(u.method.Output, r.Field, "results", "field")
	switch {
	case wrong != nil:
		return wrong
	case !fd.IsList() || fd.Message() == nil:
		return &mistake.Mistake{Path: []string{"results", "field"}, What: fmt.Sprintf("%q is %s", r.Field, fd.Kind()), Expected: "a repeated message field"}
	}
	var errs []error
	out := &results{refused: make(map[protoreflect.EnumNumber]bool)}
	var err error
	if out.field, err = wire.NewPath(u.method.Output, r.Field); err != nil {
		errs = append(errs, mistake.In(err, "results", "field"))
	}
	if state, wrong := field(fd.Message(), r.State, "results", "state"); wrong != nil {
		errs = append(errs, wrong)
	} else if state.Enum() == nil || state.IsList() {
		errs = append(errs, &mistake.Mistake{Path: []string{"results", "state"}, What: fmt.Sprintf("%q is %s", r.State, state.Kind()), Expected: "an enum field"})
	} else {
		if out.state, err = wire.NewPath(fd.Message(), r.State); err != nil {
			errs = append(errs, mistake.In(err, "results", "state"))
		}
		errs = append(errs, out.setRefused(state.Enum(), r.Refused))
	}
	if r.Reason != "" {
		if out.reason, err = singular(fd.Message(), r.Reason); err != nil {
			errs = append(errs, mistake.In(err, "results", "reason"))
		}
	}
	u.results = out
	return errors.Join(errs...)
}

func (r *results) setRefused(enum protoreflect.EnumDescriptor, names []string) error {
	if len(names) == 0 {
		return mistake.At("no value means refused", "results", "refused")
	}
	var errs []error
	for _, name := range names {
		v := enum.Values().ByName(protoreflect.Name(name))
		if v == nil {
			var known []string
			for i := range enum.Values().Len() {
				known = append(known, string(enum.Values().Get(i).Name()))
			}
			errs = append(errs, &mistake.Mistake{
				Path: []string{"results", "refused"}, What: fmt.Sprintf("%s has no value %q", enum.FullName(), name),
				Nearest: mistake.Nearest(name, known),
			})
			continue
		}
		r.refused[v.Number()] = true
	}
	return errors.Join(errs...)
}

// encode makes the canonical message of a payload. An error is the payload's fault.
func (u *uplink) encode(name string, captures []string, payload []byte) ([]byte, error) {
	parsed, err := u.parser.Append(nil, payload)
	if err != nil {
		return nil, err
	}
	m := u.builder.New()
	if err := m.Merge(u.without(parsed)); err != nil {
		return nil, err
	}
	for _, a := range u.assign {
		text := a.text
		if a.capture >= 0 {
			text = captures[a.capture]
		}
		if err := m.SetText(a.slot, text); err != nil {
			return nil, err
		}
	}
	if u.dedup != nil {
		if err := m.SetText(u.dedup.into, u.dedup.key(parsed, name, payload)); err != nil {
			return nil, err
		}
	}
	return m.Append(nil)
}

// without drops the fields that we write, whatever the payload says.
func (u *uplink) without(msg []byte) []byte {
	out := msg[:0:0]
	for len(msg) > 0 {
		number, _, n := protowire.ConsumeField(msg)
		if n < 0 {
			return out // the parser has made msg, so it is well-formed
		}
		if !u.replaced[number] {
			out = append(out, msg[:n]...)
		}
		msg = msg[n:]
	}
	return out
}

// key is the payload's own key if it has one, else the hash of topic and payload.
func (d *dedup) key(msg []byte, name string, payload []byte) string {
	if d.from != nil {
		if v, ok := d.from.First(msg); ok {
			if text := v.String(); text != "" {
				return text
			}
		}
	}
	h := sha256.New()
	h.Write([]byte(name))
	h.Write([]byte{0}) // no topic contains it
	h.Write(payload)
	return hex.EncodeToString(h.Sum(nil))
}

// request makes the canonical request of encoded messages: one field, repeated.
func (u *uplink) request(elements [][]byte) []byte {
	if u.into == nil {
		return elements[0]
	}
	size := 0
	for _, e := range elements {
		size += len(e) + 16
	}
	out := make([]byte, 0, size)
	for _, e := range elements {
		if u.into.Kind() == protoreflect.GroupKind {
			out = protowire.AppendTag(out, u.into.Number(), protowire.StartGroupType)
			out = protowire.AppendGroup(out, u.into.Number(), e)
			continue
		}
		out = protowire.AppendTag(out, u.into.Number(), protowire.BytesType)
		out = protowire.AppendBytes(out, e)
	}
	return out
}

// refusals reads a response for n messages: why the message at each index is refused. An error means that the response
// does not fit the request.
func (r *results) refusals(response []byte, n int) (map[int]string, error) {
	refused := make(map[int]string)
	count := 0
	r.field.All(response, func(result wire.Value) bool {
		state, _ := r.state.First(result.Raw())
		if number, _ := state.Interface().(protoreflect.EnumNumber); r.refused[number] {
			why := "refused"
			if r.reason != nil {
				if v, ok := r.reason.First(result.Raw()); ok {
					why = v.String()
				}
			}
			refused[count] = why
		}
		count++
		return true
	})
	if count != n {
		return nil, fmt.Errorf("the service gave %d results for %d messages", count, n)
	}
	return refused, nil
}
