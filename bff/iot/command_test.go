package iot_test

import (
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	fleetv1 "github.com/portico-bff/portico/protos/gen/shop/fleet/v1"
)

func command(id, box string) *fleetv1.Command {
	return &fleetv1.Command{CommandId: id, BoxId: box}
}

func timestamp(fromNow time.Duration) *timestamppb.Timestamp {
	return timestamppb.New(time.Now().Add(fromNow))
}
