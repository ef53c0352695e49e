package fleet

import (
	"context"
	"database/sql"
	"fmt"
	"time"

	"google.golang.org/grpc"

	"github.com/portico-bff/portico/cmd/shop/caller"
	"github.com/portico-bff/portico/cmd/shop/refuse"
	"github.com/portico-bff/portico/cmd/shop/store"
	fleetv1 "github.com/portico-bff/portico/protos/gen/shop/fleet/v1"
)

const (
	// defaultTTL is the life of a command that does not say.
	defaultTTL = time.Hour
	// commandBatch is how many commands a stream reads at once.
	commandBatch = 100
)

// allBoxes is the hub's key of all commands.
const allBoxes = ""

// SendCommand implements the service, for admins.
func (s *Service) SendCommand(ctx context.Context, req *fleetv1.SendCommandRequest) (*fleetv1.Command, error) {
	if _, err := caller.With(ctx, caller.RoleAdmin); err != nil {
		return nil, err
	}
	if err := s.exists(ctx, req.GetBoxId()); err != nil {
		return nil, err
	}
	ttl := defaultTTL
	if req.GetTtlSeconds() > 0 {
		ttl = time.Duration(req.GetTtlSeconds()) * time.Second
	}
	now := time.Now()
	command := &fleetv1.Command{
		BoxId: req.GetBoxId(), Kind: req.GetKind(), Value: req.GetValue(),
		CreateTime: store.Timestamp(now.UnixNano()), ExpireTime: store.Timestamp(now.Add(ttl).UnixNano()),
	}
	err := s.db.Write(ctx, func(tx *sql.Tx) error {
		return tx.QueryRowContext(ctx, insertCommand+` RETURNING command_id`, commandValues(command)...).Scan(&command.CommandId)
	})
	if err != nil {
		return nil, fmt.Errorf("store command: %w", err)
	}
	s.commands.Publish(allBoxes, struct{}{})
	return command, nil
}

// WatchCommands implements the service, for the bridge to the boxes. A stream begins with
// all commands that have not expired, so a bridge that was away misses none; those that
// it delivered before come again, with the same command_id. It reads from the file, so a
// slow reader loses nothing but what expires meanwhile.
func (s *Service) WatchCommands(_ *fleetv1.WatchCommandsRequest, stream grpc.ServerStreamingServer[fleetv1.Command]) error {
	ctx := stream.Context()
	if _, err := caller.With(ctx, caller.RoleIoT, caller.RoleAdmin); err != nil {
		return err
	}
	sub, err := s.commands.Subscribe(allBoxes)
	if err != nil {
		return subscribing(err)
	}
	defer sub.Close()
	var last int64
	for {
		found, err := s.commandsAfter(ctx, last)
		if err != nil {
			return err
		}
		for _, c := range found {
			if err := stream.Send(c.command); err != nil {
				return err
			}
			last = c.number
		}
		if len(found) == commandBatch {
			continue
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-s.commands.Done():
			return refuse.Stopping()
		case <-sub.C():
		}
	}
}

// commandsAfter returns the next commands that have not expired.
func (s *Service) commandsAfter(ctx context.Context, number int64) ([]commandRow, error) {
	rows, err := s.db.Query(ctx, `SELECT number, command_id, box_id, kind, value, create_time, expire_time FROM commands
		WHERE number > ? AND expire_time > ? ORDER BY number LIMIT ?`, number, time.Now().UnixNano(), commandBatch)
	found, err := store.Collect(rows, err, scanCommand)
	if err != nil {
		return nil, fmt.Errorf("read commands: %w", err)
	}
	return found, nil
}

type commandRow struct {
	number  int64
	command *fleetv1.Command
}

func scanCommand(rows *sql.Rows) (commandRow, error) {
	var number, created, expires int64
	c := &fleetv1.Command{}
	err := rows.Scan(&number, &c.CommandId, &c.BoxId, &c.Kind, &c.Value, &created, &expires)
	c.CreateTime, c.ExpireTime = store.Timestamp(created), store.Timestamp(expires)
	return commandRow{number: number, command: c}, err
}

const insertCommand = `INSERT INTO commands (box_id, kind, value, create_time, expire_time) VALUES (?, ?, ?, ?, ?)`

func commandValues(c *fleetv1.Command) []any {
	return []any{c.GetBoxId(), c.GetKind(), c.GetValue(), store.Nanos(c.GetCreateTime()), store.Nanos(c.GetExpireTime())}
}
