package seed

import (
	"fmt"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	catalogv1 "github.com/portico-bff/portico/protos/gen/shop/catalog/v1"
)

// Currency is what everything costs.
const Currency = "EUR"

// soldOut is a product with no stock, so that the demo can show an order refused.
const soldOut = 27

type product struct {
	title, description string
	cents              int64
	category           catalogv1.Category
	tags               []string
	maxCelsius         float64 // 0: needs no cooling
}

// Products returns what the shop sells, ordered by product_id.
func Products(now time.Time) []*catalogv1.Product {
	goods := goods()
	all := make([]*catalogv1.Product, 0, len(goods))
	for i, g := range goods {
		n := i + 1
		p := &catalogv1.Product{
			ProductId:   ProductID(n),
			Title:       g.title,
			Description: g.description,
			Price:       &catalogv1.Money{CurrencyCode: Currency, MinorUnits: g.cents},
			Category:    g.category,
			Tags:        g.tags,
			Stock:       int32(40 + (n*37)%160),
			UpdateTime:  timestamppb.New(day(now).Add(-time.Duration(n*7%60) * 24 * time.Hour).Add(6 * time.Hour)),
		}
		if n == soldOut {
			p.Stock = 0
		}
		if g.maxCelsius != 0 {
			p.MaxCelsius = &g.maxCelsius
		}
		all = append(all, p)
	}
	return all
}

// ProductID returns the id of product n, counted from 1.
func ProductID(n int) string { return fmt.Sprintf("prd-%04d", n) }

func goods() []product {
	const (
		produce = catalogv1.Category_CATEGORY_PRODUCE
		dairy   = catalogv1.Category_CATEGORY_DAIRY
		bakery  = catalogv1.Category_CATEGORY_BAKERY
		meat    = catalogv1.Category_CATEGORY_MEAT
		pantry  = catalogv1.Category_CATEGORY_PANTRY
		frozen  = catalogv1.Category_CATEGORY_FROZEN
		drinks  = catalogv1.Category_CATEGORY_DRINKS
	)
	return []product{
		{"Gala apples, 1 kg", "Crisp and sweet, from the lake of Constance.", 349, produce, []string{"local"}, 0},
		{"Bananas, 1 kg", "Ripe in two days. Fairtrade.", 219, produce, []string{"fairtrade", "organic"}, 0},
		{"Cherry tomatoes, 500 g", "On the vine, grown under glass.", 289, produce, nil, 0},
		{"Baby spinach, 200 g", "Washed and ready to eat.", 249, produce, []string{"organic"}, 8},
		{"Carrots, 1 kg", "With their greens still on.", 179, produce, []string{"local", "organic"}, 0},
		{"Avocado", "Ready to eat today.", 159, produce, nil, 0},
		{"Lemons, 4 pieces", "Unwaxed, so the zest is good too.", 199, produce, []string{"organic"}, 0},
		{"New potatoes, 2 kg", "Waxy, for salads and raclette.", 399, produce, []string{"local"}, 0},
		{"Whole milk, 1 l", "Pasteurised, not homogenised: shake it.", 169, dairy, []string{"local"}, 6},
		{"Salted butter, 250 g", "Churned in small batches in Brittany.", 349, dairy, nil, 8},
		{"Greek yoghurt, 500 g", "Ten per cent fat, strained twice.", 279, dairy, nil, 6},
		{"Gruyère, 200 g", "Fourteen months in the cellar.", 529, dairy, []string{"raw-milk"}, 10},
		{"Mozzarella di bufala, 125 g", "From Campania, in its brine.", 299, dairy, nil, 6},
		{"Feta, 200 g", "Sheep and goat milk, three months in brine.", 319, dairy, nil, 8},
		{"Free-range eggs, 10 pieces", "Size M, laid this week.", 459, dairy, []string{"local", "free-range"}, 12},
		{"Oat drink, 1 l", "Foams well. No sugar added.", 229, dairy, []string{"vegan"}, 8},
		{"Sourdough loaf, 1 kg", "Thirty hours of rest, a dark crust.", 650, bakery, []string{"local"}, 0},
		{"Butter croissants, 4 pieces", "Baked this morning.", 520, bakery, nil, 0},
		{"Baguette", "Flour, water, salt, yeast.", 180, bakery, nil, 0},
		{"Rye bread, 750 g", "Dense and moist; keeps for a week.", 490, bakery, []string{"organic"}, 0},
		{"Cinnamon rolls, 2 pieces", "With cardamom, as in Stockholm.", 460, bakery, nil, 0},
		{"Carrot cake, slice", "Cream cheese icing.", 420, bakery, nil, 8},
		{"Chicken thighs, 500 g", "Free-range, with skin and bone.", 899, meat, []string{"free-range"}, 4},
		{"Minced beef, 400 g", "Grass-fed, 15 per cent fat.", 749, meat, []string{"organic"}, 4},
		{"Salmon fillet, 250 g", "From Scottish sea farms, skin on.", 1190, meat, nil, 2},
		{"Smoked trout, 125 g", "Two fillets, smoked over beech.", 679, meat, []string{"local"}, 4},
		{"Oysters, 12 pieces", "Fines de claire no. 3, opened by you.", 2490, meat, nil, 4},
		{"Merguez, 300 g", "Lamb and beef, with harissa.", 639, meat, nil, 4},
		{"Spaghetti, 500 g", "Bronze-drawn, dried slowly.", 219, pantry, nil, 0},
		{"Peeled tomatoes, 400 g", "San Marzano, from the volcano.", 189, pantry, nil, 0},
		{"Basmati rice, 1 kg", "Aged for a year.", 449, pantry, nil, 0},
		{"Red lentils, 500 g", "Done in twelve minutes.", 259, pantry, []string{"organic", "vegan"}, 0},
		{"Olive oil, 750 ml", "Extra virgin, first harvest.", 1450, pantry, nil, 0},
		{"Sea salt, 250 g", "Hand-raked flakes.", 390, pantry, nil, 0},
		{"Acacia honey, 500 g", "From hives on the town's roofs.", 890, pantry, []string{"local"}, 0},
		{"Dark chocolate 72 %, 100 g", "Beans from Madagascar.", 329, pantry, []string{"fairtrade"}, 0},
		{"Espresso beans, 1 kg", "Roasted last week; chocolate and hazelnut.", 2150, pantry, []string{"fairtrade"}, 0},
		{"Peas, 450 g", "Frozen within two hours of the harvest.", 249, frozen, []string{"vegan"}, -18},
		{"Vanilla ice cream, 500 ml", "Cream, eggs, real vanilla.", 690, frozen, nil, -18},
		{"Margherita pizza", "From a wood oven, blast-frozen.", 549, frozen, nil, -18},
		{"Fish fingers, 10 pieces", "Alaska pollock, line-caught.", 479, frozen, nil, -18},
		{"Mixed berries, 400 g", "Raspberries, blueberries, currants.", 459, frozen, []string{"organic", "vegan"}, -18},
		{"Sparkling water, 6 x 1 l", "From an Alpine spring.", 540, drinks, nil, 0},
		{"Apple juice, 1 l", "Cloudy, from old varieties.", 289, drinks, []string{"local", "organic"}, 0},
		{"Ginger beer, 4 x 200 ml", "Brewed, and hot.", 620, drinks, nil, 0},
		{"Pale ale, 6 x 330 ml", "From the brewery around the corner.", 1290, drinks, []string{"local"}, 0},
		{"Riesling, 750 ml", "Dry, from steep slate.", 1390, drinks, nil, 0},
		{"Kombucha, 330 ml", "Green tea and lemon grass; alive.", 349, drinks, []string{"vegan"}, 8},
	}
}
