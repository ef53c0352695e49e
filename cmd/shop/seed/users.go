package seed

import (
	"fmt"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	usersv1 "github.com/portico-bff/portico/protos/gen/shop/users/v1"
)

// Who the demo's tokens are made for.
const (
	AdminID    = "usr-0001"
	CustomerID = "usr-0003"
)

type user struct{ name, email, street, city, code, region string }

// Users returns the shop's users, ordered by user_id: the first is its admin, the others
// are customers.
func Users(now time.Time) []*usersv1.User {
	people := people()
	all := make([]*usersv1.User, 0, len(people))
	for i, p := range people {
		u := &usersv1.User{
			UserId:      UserID(i + 1),
			DisplayName: p.name,
			Email:       p.email,
			Address:     &usersv1.Address{Street: p.street, City: p.city, PostalCode: p.code, RegionCode: p.region},
			Role:        usersv1.Role_ROLE_CUSTOMER,
			CreateTime:  timestamppb.New(day(now).Add(-time.Duration(700-31*i) * 24 * time.Hour).Add(time.Duration(7+i) * time.Hour)),
		}
		if u.GetUserId() == AdminID {
			u.Role = usersv1.Role_ROLE_ADMIN
		}
		all = append(all, u)
	}
	return all
}

// UserID returns the id of user n, counted from 1.
func UserID(n int) string { return fmt.Sprintf("usr-%04d", n) }

func people() []user {
	return []user{
		{"Margrit Ammann", "margrit.ammann@shop.example", "Limmatquai 4", "Zürich", "8001", "CH"},
		{"Jonas Keller", "jonas.keller@mail.example", "Langstrasse 112", "Zürich", "8004", "CH"},
		{"Amélie Rochat", "amelie.rochat@mail.example", "Rue de Bourg 21", "Lausanne", "1003", "CH"},
		{"Luca Bernasconi", "luca.bernasconi@mail.example", "Via Nassa 8", "Lugano", "6900", "CH"},
		{"Sofia Lindqvist", "sofia.lindqvist@mail.example", "Seefeldstrasse 60", "Zürich", "8008", "CH"},
		{"Mehmet Yılmaz", "mehmet.yilmaz@mail.example", "Badenerstrasse 301", "Zürich", "8003", "CH"},
		{"Hannah Weber", "hannah.weber@mail.example", "Marktgasse 17", "Bern", "3011", "CH"},
		{"Oliver Brunner", "oliver.brunner@mail.example", "Rosenbergstrasse 5", "St. Gallen", "9000", "CH"},
		{"Priya Raman", "priya.raman@mail.example", "Hardbrücke 33", "Zürich", "8005", "CH"},
		{"Tomáš Novák", "tomas.novak@mail.example", "Freie Strasse 40", "Basel", "4001", "CH"},
		{"Ana Marques", "ana.marques@mail.example", "Rue du Rhône 55", "Genève", "1204", "CH"},
		{"Fabian Graf", "fabian.graf@mail.example", "Stadthausstrasse 12", "Winterthur", "8400", "CH"},
		{"Chiara Conti", "chiara.conti@mail.example", "Viale Stazione 3", "Bellinzona", "6500", "CH"},
		{"Noah Zimmermann", "noah.zimmermann@mail.example", "Pilatusstrasse 28", "Luzern", "6003", "CH"},
		{"Yuki Tanaka", "yuki.tanaka@mail.example", "Universitätstrasse 84", "Zürich", "8006", "CH"},
		{"Eva Horváth", "eva.horvath@mail.example", "Forchstrasse 190", "Zürich", "8032", "CH"},
		{"Pierre Dubois", "pierre.dubois@mail.example", "Avenue de la Gare 10", "Fribourg", "1700", "CH"},
		{"Lea Steiner", "lea.steiner@mail.example", "Bahnhofstrasse 2", "Chur", "7000", "CH"},
		{"David Okafor", "david.okafor@mail.example", "Schaffhauserstrasse 71", "Zürich", "8057", "CH"},
		{"Ingrid Solberg", "ingrid.solberg@mail.example", "Zollikerstrasse 144", "Zollikon", "8702", "CH"},
	}
}
