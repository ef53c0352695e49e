package users_test

import (
	"log/slog"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/testing/protocmp"

	"github.com/portico-bff/portico/cmd/shop/seed"
	"github.com/portico-bff/portico/cmd/shop/service/servicetest"
	"github.com/portico-bff/portico/cmd/shop/users"
	usersv1 "github.com/portico-bff/portico/protos/gen/shop/users/v1"
)

func start(t *testing.T) usersv1.UserServiceClient {
	t.Helper()
	s, err := users.Open(t.Context(), filepath.Join(t.TempDir(), "users.db"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return usersv1.NewUserServiceClient(servicetest.Serve(t, usersv1.File_shop_users_v1_users_proto,
		func(r grpc.ServiceRegistrar) { usersv1.RegisterUserServiceServer(r, s) }, slog.New(slog.DiscardHandler)))
}

func TestWhoSeesWhom(t *testing.T) {
	t.Parallel()
	client := start(t)
	for _, tt := range []struct {
		name        string
		user, roles string
		from        string // program; "": Portico
		get, list   codes.Code
		batch       []string
		batchCode   codes.Code
	}{
		{"the customer", "usr-0003", "customer", "", codes.OK, codes.PermissionDenied, []string{"usr-0003"}, codes.OK},
		{"another customer", "usr-0004", "customer", "", codes.NotFound, codes.PermissionDenied, nil, codes.OK},
		{"an admin", "usr-0001", "admin", "", codes.OK, codes.OK, []string{"usr-0003", "usr-0001"}, codes.OK},
		{"the boxes", "portico-iot", "iot", "", codes.NotFound, codes.PermissionDenied, nil, codes.OK},
		{"nobody", "", "", "", codes.Unauthenticated, codes.Unauthenticated, nil, codes.Unauthenticated},
		{"an admin, says orders", "usr-0001", "admin", "orders", codes.Unauthenticated, codes.Unauthenticated, nil, codes.Unauthenticated},
	} {
		ctx := servicetest.As(t.Context(), tt.user, tt.roles)
		if tt.from != "" {
			ctx = servicetest.From(ctx, tt.from)
		}
		user, err := client.GetUser(ctx, &usersv1.GetUserRequest{UserId: "usr-0003"})
		t.Log(tt.name)
		servicetest.WantCode(t, err, tt.get)
		if err == nil {
			if diff := cmp.Diff(seed.Users(time.Now())[2], user, protocmp.Transform()); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		}
		_, err = client.ListUsers(ctx, &usersv1.ListUsersRequest{})
		servicetest.WantCode(t, err, tt.list)
		reply, err := client.BatchGetUsers(ctx, &usersv1.BatchGetUsersRequest{UserIds: []string{"usr-0003", "usr-7777", "usr-0001"}})
		servicetest.WantCode(t, err, tt.batchCode)
		var got []string
		for _, u := range reply.GetUsers() {
			got = append(got, u.GetUserId())
		}
		if diff := cmp.Diff(tt.batch, got); diff != "" {
			t.Error(diff)
		}
	}
}

func TestListUsersByPages(t *testing.T) {
	t.Parallel()
	client := start(t)
	ctx := servicetest.As(t.Context(), seed.AdminID, "admin")
	req := &usersv1.ListUsersRequest{PageSize: 8}
	var sizes []int
	var got []string
	for range 4 {
		reply, err := client.ListUsers(ctx, req)
		if err != nil {
			t.Fatal(err)
		}
		sizes = append(sizes, len(reply.GetUsers()))
		for _, u := range reply.GetUsers() {
			got = append(got, u.GetUserId())
		}
		if req.PageToken = reply.GetNextPageToken(); req.GetPageToken() == "" {
			break
		}
	}
	if diff := cmp.Diff([]int{8, 8, 4}, sizes); diff != "" {
		t.Error(diff)
	}
	for n, id := range got {
		if id != seed.UserID(n+1) {
			t.Errorf("user %d is %s", n, id)
		}
	}
	_, err := client.ListUsers(ctx, &usersv1.ListUsersRequest{PageToken: "bogus"})
	servicetest.WantFields(t, err, "page_token")
}
