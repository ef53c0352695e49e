// Package users is the demo's user service. A customer sees the own record and no other;
// an admin sees all. [Open] makes it, [Run] runs it as a program.
package users

import (
	"context"
	"database/sql"
	"embed"
	"fmt"
	"io/fs"
	"time"

	"github.com/portico-bff/portico/cmd/shop/caller"
	"github.com/portico-bff/portico/cmd/shop/page"
	"github.com/portico-bff/portico/cmd/shop/refuse"
	"github.com/portico-bff/portico/cmd/shop/seed"
	"github.com/portico-bff/portico/cmd/shop/store"
	usersv1 "github.com/portico-bff/portico/protos/gen/shop/users/v1"
)

const maxPage = 100

//go:embed migrations/*.sql
var migrations embed.FS

// Service implements shop.users.v1.UserService. It is safe for concurrent use. Close it.
type Service struct {
	usersv1.UnimplementedUserServiceServer
	db *store.DB
}

var _ usersv1.UserServiceServer = (*Service)(nil)

// Open opens the users in their file; a new file gets the demo's users.
func Open(ctx context.Context, path string) (*Service, error) {
	files, err := fs.Sub(migrations, "migrations")
	if err != nil {
		return nil, err
	}
	db, err := store.Open(ctx, path, store.Schema{Migrations: files, Seed: fill})
	if err != nil {
		return nil, err
	}
	return &Service{db: db}, nil
}

// Close closes the file.
func (s *Service) Close() error { return s.db.Close() }

// GetUser implements the service. Somebody else's record is NOT_FOUND.
func (s *Service) GetUser(ctx context.Context, req *usersv1.GetUserRequest) (*usersv1.User, error) {
	found, err := s.find(ctx, []string{req.GetUserId()})
	if err != nil {
		return nil, err
	}
	if len(found) == 0 {
		return nil, refuse.NotFound("User", req.GetUserId())
	}
	return found[0], nil
}

// BatchGetUsers implements the service. Other people's records are left out.
func (s *Service) BatchGetUsers(ctx context.Context, req *usersv1.BatchGetUsersRequest) (*usersv1.BatchGetUsersResponse, error) {
	found, err := s.find(ctx, req.GetUserIds())
	if err != nil {
		return nil, err
	}
	return &usersv1.BatchGetUsersResponse{Users: found}, nil
}

// ListUsers implements the service, for admins.
func (s *Service) ListUsers(ctx context.Context, req *usersv1.ListUsersRequest) (*usersv1.ListUsersResponse, error) {
	if _, err := caller.With(ctx, caller.RoleAdmin); err != nil {
		return nil, err
	}
	var after int64
	if _, err := page.Keys(req, &after); err != nil {
		return nil, err
	}
	size := page.Size(req, maxPage)
	rows, err := s.db.Query(ctx, `SELECT `+columns+` FROM users WHERE number > ? ORDER BY number LIMIT ?`, after, size+1)
	found, err := store.Collect(rows, err, scan)
	if err != nil {
		return nil, fmt.Errorf("list users: %w", err)
	}
	reply := &usersv1.ListUsersResponse{}
	if len(found) > size {
		found = found[:size]
		reply.NextPageToken = page.Token(req, found[size-1].number)
	}
	reply.Users = records(found)
	return reply, nil
}

// find returns the users that exist and that the caller may see, in the order of the ids.
func (s *Service) find(ctx context.Context, ids []string) ([]*usersv1.User, error) {
	who, err := caller.User(ctx)
	if err != nil {
		return nil, err
	}
	list, err := store.JSON(ids)
	if err != nil {
		return nil, err
	}
	rows, err := s.db.Query(ctx, `SELECT `+columns+` FROM json_each(?) AS wanted
		JOIN users ON user_id = wanted.value WHERE ? OR user_id = ? ORDER BY wanted.key`, list, who.Admin(), who.Subject)
	found, err := store.Collect(rows, err, scan)
	if err != nil {
		return nil, fmt.Errorf("find users: %w", err)
	}
	return records(found), nil
}

const columns = `number, user_id, display_name, email, street, city, postal_code, region_code, role, create_time`

type row struct {
	number int64
	user   *usersv1.User
}

func scan(rows *sql.Rows) (row, error) {
	var number, joined int64
	u := &usersv1.User{Address: &usersv1.Address{}}
	err := rows.Scan(&number, &u.UserId, &u.DisplayName, &u.Email, &u.Address.Street, &u.Address.City,
		&u.Address.PostalCode, &u.Address.RegionCode, &u.Role, &joined)
	u.CreateTime = store.Timestamp(joined)
	return row{number: number, user: u}, err
}

func records(rows []row) []*usersv1.User {
	all := make([]*usersv1.User, 0, len(rows))
	for _, r := range rows {
		all = append(all, r.user)
	}
	return all
}

// fill puts the demo's users into a new file.
func fill(ctx context.Context, tx *sql.Tx) error {
	for _, u := range seed.Users(time.Now()) {
		a := u.GetAddress()
		_, err := tx.ExecContext(ctx, `INSERT INTO users (user_id, display_name, email, street, city, postal_code,
			region_code, role, create_time) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)`,
			u.GetUserId(), u.GetDisplayName(), u.GetEmail(), a.GetStreet(), a.GetCity(), a.GetPostalCode(),
			a.GetRegionCode(), u.GetRole(), store.Nanos(u.GetCreateTime()))
		if err != nil {
			return fmt.Errorf("user %s: %w", u.GetUserId(), err)
		}
	}
	return nil
}
