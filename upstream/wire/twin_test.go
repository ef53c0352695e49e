package wire

// Way is how a message is rendered.
type Way = how

// The ways to render, from the fastest on.
const (
	InOrder  = inOrder
	AnyOrder = anyOrder
	Indexed  = indexed
)

// Way returns the way in which a valid message is rendered.
func (r *Renderer) Way(msg []byte) Way {
	for how := range indexed {
		s := &render{programs: r.programs, how: how}
		if s.message(r.root, msg, r.programs.o.MaxDepth) == nil {
			return how
		}
	}
	return indexed
}

// AppendAnyOrder is [Renderer.Append] where messages are located before they are written.
func (r *Renderer) AppendAnyOrder(dst, msg []byte) ([]byte, error) {
	return r.append(dst, msg, anyOrder)
}

// AppendIndexed is [Renderer.Append] by an index of the fields: the twin with which the direct way is compared.
func (r *Renderer) AppendIndexed(dst, msg []byte) ([]byte, error) { return r.append(dst, msg, indexed) }
