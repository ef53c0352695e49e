package translate

// format is how messages are written.
type format int

const (
	jsonFormat format = iota
	protoFormat
)
