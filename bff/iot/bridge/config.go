package bridge

import (
	"time"
)

// Uplink carries the messages of a topic to a unary method.
type Uplink struct {
	// Topic is the topic with {captures} as whole levels, such as "boxes/{box_id}/telemetry".
	Topic string `yaml:"topic" json:"topic"`
	// Method is the method that takes the messages, such as "shop.fleet.v1.FleetService/IngestReadings".
	Method string `yaml:"method" json:"method"`
	// Payload lists the encodings that devices use: json.
	Payload []string `yaml:"payload" json:"payload,omitempty" jsonschema:"enum=json"`
	// UnknownFields is "refuse" (the default) or "ignore": what becomes of a payload with fields that the message does
	// not have.
	UnknownFields string `yaml:"unknown_fields" json:"unknown_fields,omitempty" jsonschema:"enum=refuse,enum=ignore"`
	// Into is the repeated message field of the request that takes the payloads of a batch. If absent, each payload is
	// a request of its own.
	Into string `yaml:"into" json:"into,omitempty"`
	// Set assigns captures of the topic to fields of the payload's message, such as {box_id: "{topic.box_id}"}. They
	// replace what the payload says.
	Set map[string]string `yaml:"set" json:"set,omitempty"`
	// Dedup writes a key into each message by which the service knows a repeated delivery.
	Dedup *Dedup `yaml:"dedup" json:"dedup,omitempty"`
	// Batch says when a batch is full. Only with into.
	Batch Batch `yaml:"batch" json:"batch,omitzero"`
	// Results says how the answer tells what became of each message. Without it, an answer accepts all of them.
	Results *Results `yaml:"results" json:"results,omitempty"`
	// DeadLetter is the topic that takes refused messages, as JSON: {topic, reason, payload in base64, time}. A broker
	// keeps them for those who have subscribed to it with a persistent session, and for nobody else. If absent, they are
	// only logged and counted.
	DeadLetter string `yaml:"dead_letter" json:"dead_letter,omitempty"`
}

// Dedup says where a message's deduplication key comes from and goes to.
type Dedup struct {
	// Into is the string field of the payload's message that takes the key.
	Into string `yaml:"into" json:"into"`
	// From is the field of the payload's message that is the key. If it is absent or empty, the key is the SHA-256 of
	// topic and payload in hexadecimal: equal payloads on one topic then are one message.
	From string `yaml:"from" json:"from,omitempty"`
}

// Batch bounds a batch of messages.
type Batch struct {
	// Max is the most messages in a call: 500 if absent.
	Max int `yaml:"max" json:"max,omitempty"`
	// Linger is how long the first message of a batch waits for others: 10ms if absent.
	Linger time.Duration `yaml:"linger" json:"linger,omitempty"`
}

// Results says how a response tells what became of each message of a batch.
type Results struct {
	// Field is the repeated message field of the response with one result per message, in the order of the request.
	Field string `yaml:"field" json:"field"`
	// State is the enum field of a result that tells what became of the message.
	State string `yaml:"state" json:"state"`
	// Refused are the values of State that mean: refused for good. Any other accepts the message.
	Refused []string `yaml:"refused" json:"refused"`
	// Reason is the string field of a result that tells why.
	Reason string `yaml:"reason" json:"reason,omitempty"`
}

// Downlink carries the messages of a server stream to topics.
type Downlink struct {
	// Method is the server-streaming method, such as "shop.fleet.v1.FleetService/WatchCommands". It is called with an
	// empty request, and again whenever the stream ends: devices see a message again that the stream repeats, and know
	// it by its id.
	Method string `yaml:"method" json:"method"`
	// Topic is where a message goes, with QoS 1, and with {message.FIELD} as whole levels, such as "boxes/{message.box_id}/commands".
	Topic string `yaml:"topic" json:"topic"`
	// Expires is the google.protobuf.Timestamp field after which a message is not published any more.
	Expires string `yaml:"expires" json:"expires,omitempty"`
}

// withDefaults returns u with its absent values filled in.
func (u Uplink) withDefaults() Uplink {
	if u.UnknownFields == "" {
		u.UnknownFields = unknownRefuse
	}
	if len(u.Payload) == 0 {
		u.Payload = []string{payloadJSON}
	}
	if u.Batch.Max == 0 {
		u.Batch.Max = 500
	}
	if u.Batch.Linger == 0 {
		u.Batch.Linger = 10 * time.Millisecond
	}
	return u
}

// Values of the configuration.
const (
	payloadJSON   = "json"
	unknownRefuse = "refuse"
	unknownIgnore = "ignore"
)
