package iot_test

import (
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"
)

func timestamp(fromNow time.Duration) *timestamppb.Timestamp {
	return timestamppb.New(time.Now().Add(fromNow))
}
