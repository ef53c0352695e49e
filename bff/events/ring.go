package events

// ring keeps the latest messages of a log, numbered from 1. It is not safe for concurrent use.
type ring struct {
	maxEvents int
	maxBytes  int64

	messages [][]byte
	first    uint64 // the number of messages[0]
	bytes    int64  // of all messages, with what they cost besides
}

// messageCost is about what a message takes besides its bytes.
const messageCost = 32

func newRing(c Config) ring {
	return ring{maxEvents: c.MaxEvents, maxBytes: int64(c.MaxBytes), first: 1}
}

// head is the number of the latest message, kept or not; 0 if there has been none.
func (r *ring) head() uint64 { return r.first + uint64(len(r.messages)) - 1 }

// at returns the message of a number from first to head.
func (r *ring) at(seq uint64) []byte { return r.messages[seq-r.first] }

// add adds a message and drops those that no longer fit, but never the one just added.
func (r *ring) add(message []byte) {
	r.messages = append(r.messages, message)
	r.bytes += int64(len(message)) + messageCost
	for len(r.messages) > 1 && (len(r.messages) > r.maxEvents || r.bytes > r.maxBytes) {
		r.bytes -= int64(len(r.messages[0])) + messageCost
		r.messages[0] = nil // the array lives on until append needs a larger one
		r.messages = r.messages[1:]
		r.first++
	}
}
