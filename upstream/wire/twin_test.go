package wire

// AppendAnyOrder is [Renderer.Append] where messages are located before they are written.
func (r *Renderer) AppendAnyOrder(dst, msg []byte) ([]byte, error) {
	return r.append(dst, msg, anyOrder)
}

// AppendIndexed is [Renderer.Append] by an index of the fields: the twin with which the direct way is compared.
func (r *Renderer) AppendIndexed(dst, msg []byte) ([]byte, error) { return r.append(dst, msg, indexed) }
