package store

import (
	"encoding/json"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"
)

// JSON returns a list of strings as SQLite's json_each takes it, so that a list is one
// parameter however long it is.
func JSON(list []string) (string, error) {
	if list == nil {
		list = []string{}
	}
	text, err := json.Marshal(list)
	return string(text), err
}

// Nanos returns a time as it is stored: nanoseconds since 1970 in UTC.
func Nanos(t *timestamppb.Timestamp) int64 { return t.AsTime().UnixNano() }

// Timestamp is the way back of [Nanos].
func Timestamp(nanos int64) *timestamppb.Timestamp {
	return timestamppb.New(time.Unix(0, nanos))
}
