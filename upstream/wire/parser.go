package wire

import (
	"fmt"
	"regexp"
	"strconv"

	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/dynamicpb"
)

// Parser turns JSON texts into canonical messages of one type. It is immutable and safe for concurrent use.
type Parser struct {
	md protoreflect.MessageDescriptor
	o  ParseOptions
}

// SyntaxError says where a JSON text is wrong. Its text is meant for whoever wrote the JSON.
type SyntaxError struct {
	// Pointer is the JSON pointer (RFC 6901) of the value that is wrong; "" is the whole text.
	Pointer string
	// Expected says what should stand there; may be empty.
	Expected string
	// Found says what stands there.
	Found string
	// Nearest is the nearest known name; may be empty.
	Nearest string
	// Offset is where it stands in the text, in bytes.
	Offset int
}

// Error tells all but the offset.
func (e *SyntaxError) Error() string {
	s := e.Found
	if e.Pointer != "" {
		s = e.Pointer + ": " + s
	}
	if e.Expected != "" {
		s += ", expected " + e.Expected
	}
	if e.Nearest != "" {
		s += ", did you mean " + strconv.Quote(e.Nearest) + "?"
	}
	return s
}

// NewParser compiles a parser of messages of the type md.
func NewParser(md protoreflect.MessageDescriptor, o ParseOptions) (*Parser, error) {
	o.Resolver = resolverOr(o.Resolver)
	o.MaxDepth = orDefault(o.MaxDepth, defaultMaxDepth)
	o.MaxBytes = orDefault(o.MaxBytes, defaultMaxBytes)
	return &Parser{md: md, o: o}, nil
}

// Append appends the canonical encoding of the JSON text to dst. The error is a [*SyntaxError].
func (p *Parser) Append(dst, json []byte) ([]byte, error) {
	if len(json) > p.o.MaxBytes {
		return dst, &SyntaxError{Found: fmt.Sprintf("%d bytes", len(json)), Expected: fmt.Sprintf("at most %d bytes", p.o.MaxBytes)}
	}
	m := dynamicpb.NewMessage(p.md)
	err := protojson.UnmarshalOptions{DiscardUnknown: p.o.DiscardUnknown, Resolver: p.o.Resolver, RecursionLimit: p.o.MaxDepth}.Unmarshal(json, m)
	if err != nil {
		return dst, &SyntaxError{Found: protojsonPrefix().ReplaceAllString(err.Error(), "")}
	}
	return appendMessage(dst, m)
}

func protojsonPrefix() *regexp.Regexp { return regexp.MustCompile(`^proto:[\s\x{00A0}]*`) }
