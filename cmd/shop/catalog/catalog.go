// Package catalog is the demo's catalog service: products and prices, which anybody may
// read. [Open] makes it, [Run] runs it as a program.
package catalog

import (
	"context"
	"database/sql"
	"embed"
	"encoding/json"
	"fmt"
	"io/fs"
	"strings"
	"time"

	"github.com/portico-bff/portico/cmd/shop/page"
	"github.com/portico-bff/portico/cmd/shop/refuse"
	"github.com/portico-bff/portico/cmd/shop/seed"
	"github.com/portico-bff/portico/cmd/shop/store"
	catalogv1 "github.com/portico-bff/portico/protos/gen/shop/catalog/v1"
)

const maxPage = 100

//go:embed migrations/*.sql
var migrations embed.FS

// Service implements shop.catalog.v1.CatalogService. It is safe for concurrent use.
// Close it.
type Service struct {
	catalogv1.UnimplementedCatalogServiceServer
	db *store.DB
}

var _ catalogv1.CatalogServiceServer = (*Service)(nil)

// Open opens the catalog in its file; a new file gets the demo's products.
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

// GetProduct implements the service.
func (s *Service) GetProduct(ctx context.Context, req *catalogv1.GetProductRequest) (*catalogv1.Product, error) {
	found, err := s.find(ctx, []string{req.GetProductId()})
	if err != nil {
		return nil, err
	}
	if len(found) == 0 {
		return nil, refuse.NotFound("Product", req.GetProductId())
	}
	return found[0], nil
}

// BatchGetProducts implements the service.
func (s *Service) BatchGetProducts(ctx context.Context, req *catalogv1.BatchGetProductsRequest) (*catalogv1.BatchGetProductsResponse, error) {
	found, err := s.find(ctx, req.GetProductIds())
	if err != nil {
		return nil, err
	}
	return &catalogv1.BatchGetProductsResponse{Products: found}, nil
}

// ListProducts implements the service.
func (s *Service) ListProducts(ctx context.Context, req *catalogv1.ListProductsRequest) (*catalogv1.ListProductsResponse, error) {
	var after int64
	if _, err := page.Keys(req, &after); err != nil {
		return nil, err
	}
	size := page.Size(req, maxPage)
	rows, err := s.db.Query(ctx, `SELECT `+columns+` FROM products
		WHERE number > ? AND (? = 0 OR category = ?) AND (? = '' OR instr(folded, ?) > 0)
		ORDER BY number LIMIT ?`,
		after, req.GetCategory(), req.GetCategory(), req.GetQuery(), strings.ToLower(req.GetQuery()), size+1)
	found, err := store.Collect(rows, err, scan)
	if err != nil {
		return nil, fmt.Errorf("list products: %w", err)
	}
	reply := &catalogv1.ListProductsResponse{}
	if len(found) > size {
		found = found[:size]
		reply.NextPageToken = page.Token(req, found[size-1].number)
	}
	reply.Products = products(found)
	return reply, nil
}

// find returns the products that exist, in the order of the ids.
func (s *Service) find(ctx context.Context, ids []string) ([]*catalogv1.Product, error) {
	list, err := store.JSON(ids)
	if err != nil {
		return nil, err
	}
	rows, err := s.db.Query(ctx, `SELECT `+columns+` FROM json_each(?) AS wanted
		JOIN products ON product_id = wanted.value ORDER BY wanted.key`, list)
	found, err := store.Collect(rows, err, scan)
	if err != nil {
		return nil, fmt.Errorf("find products: %w", err)
	}
	return products(found), nil
}

const columns = `number, product_id, title, description, currency_code, minor_units, category, tags, stock, max_celsius, update_time`

type row struct {
	number  int64
	product *catalogv1.Product
}

func scan(rows *sql.Rows) (row, error) {
	var (
		number, changed int64
		tags            string
		p               = &catalogv1.Product{Price: &catalogv1.Money{}}
	)
	err := rows.Scan(&number, &p.ProductId, &p.Title, &p.Description, &p.Price.CurrencyCode, &p.Price.MinorUnits,
		&p.Category, &tags, &p.Stock, &p.MaxCelsius, &changed)
	if err != nil {
		return row{}, err
	}
	if err := json.Unmarshal([]byte(tags), &p.Tags); err != nil {
		return row{}, fmt.Errorf("tags of %s: %w", p.GetProductId(), err)
	}
	p.UpdateTime = store.Timestamp(changed)
	return row{number: number, product: p}, nil
}

func products(rows []row) []*catalogv1.Product {
	all := make([]*catalogv1.Product, 0, len(rows))
	for _, r := range rows {
		all = append(all, r.product)
	}
	return all
}

// fill puts the demo's products into a new file.
func fill(ctx context.Context, tx *sql.Tx) error {
	insert, err := tx.PrepareContext(ctx, `INSERT INTO products (product_id, title, folded, description,
		currency_code, minor_units, category, tags, stock, max_celsius, update_time) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`)
	if err != nil {
		return err
	}
	defer insert.Close()
	for _, p := range seed.Products(time.Now()) {
		tags, err := store.JSON(p.GetTags())
		if err != nil {
			return err
		}
		_, err = insert.ExecContext(ctx, p.GetProductId(), p.GetTitle(), strings.ToLower(p.GetTitle()), p.GetDescription(),
			p.GetPrice().GetCurrencyCode(), p.GetPrice().GetMinorUnits(), p.GetCategory(), tags, p.GetStock(),
			p.MaxCelsius, store.Nanos(p.GetUpdateTime()))
		if err != nil {
			return fmt.Errorf("product %s: %w", p.GetProductId(), err)
		}
	}
	return nil
}
