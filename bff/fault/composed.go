package fault

import "context"

type composedKey struct{}

// Composed marks calls made with the returned context as composed by us rather than by the client, such as a batch of
// keys: core presents their errors through [FromComposed].
func Composed(ctx context.Context) context.Context {
	return context.WithValue(ctx, composedKey{}, true)
}

// IsComposed reports whether [Composed] has marked ctx.
func IsComposed(ctx context.Context) bool {
	composed, _ := ctx.Value(composedKey{}).(bool)
	return composed
}
