package front

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"time"

	"github.com/eclipse/paho.mqtt.golang/packets"
	"golang.org/x/time/rate"
	"google.golang.org/grpc/codes"

	"github.com/portico-bff/portico/bff/fault"
	"github.com/portico-bff/portico/bff/iot/packet"
)

// ClientIDPrefix starts the client ids that devices have at the broker, where the bridge's id shares their name space.
const ClientIDPrefix = "d_"

// login takes the device's CONNECT, connects to the broker on its behalf and answers with a CONNACK. An error comes
// with the reason for which the connection is closed.
func (c *conn) login() (string, error) {
	limits := &c.server.o.Limits
	deadline := time.Now().Add(limits.ConnectTimeout)
	if err := c.nc.SetReadDeadline(deadline); err != nil {
		return reasonDevice, err
	}
	first, err := c.in.Next(limits.ConnectBytes)
	if errors.Is(err, packet.ErrVersion) {
		return c.refuse(packets.ErrRefusedBadProtocolVersion, err)
	}
	if err != nil {
		return readReason(err), err
	}
	connect, ok := first.(*packets.ConnectPacket)
	if !ok {
		return reasonProtocol, fmt.Errorf("%w: the first packet is no CONNECT", packet.ErrUnexpected)
	}
	ctx, cancel := context.WithDeadline(c.ctx, deadline)
	defer cancel()
	if err := c.identify(ctx, connect); err != nil {
		return c.refuse(fault.From(err).Connack(), err)
	}
	if err := c.server.enter(ctx, c); err != nil {
		return c.refuse(packets.ErrRefusedServerUnavailable, err)
	}
	connack, err := c.connectBroker(ctx, connect.CleanSession)
	if err != nil {
		return c.refuse(packets.ErrRefusedServerUnavailable, fmt.Errorf("logging in at the broker: %w", err))
	}
	c.prepare(connect)
	if err := c.send(connack); err != nil {
		return reasonDevice, err
	}
	return "", nil
}

// refuse answers with a CONNACK.
func (c *conn) refuse(code byte, err error) (string, error) {
	c.server.metrics.refusals.WithLabelValues(strconv.Itoa(int(code))).Inc()
	p := &packets.ConnackPacket{FixedHeader: packets.FixedHeader{MessageType: packets.Connack}, ReturnCode: code}
	return reasonRefused, errors.Join(err, c.send(p))
}

// identify finds out who connects and checks that it may do so in that way.
func (c *conn) identify(ctx context.Context, p *packets.ConnectPacket) error {
	if err := c.server.o.Gate.Open(); err != nil {
		return fault.Wrap(codes.Unavailable, "not open yet", err)
	}
	if p.WillFlag {
		return fault.New(codes.PermissionDenied, "wills are not supported")
	}
	credentials := Credentials{ClientID: p.ClientIdentifier, Username: p.Username, Password: string(p.Password)}
	if addr, err := netip.ParseAddrPort(c.nc.RemoteAddr().String()); err == nil {
		credentials.Remote = addr.Addr().Unmap()
	}
	if t, ok := c.nc.(*tls.Conn); ok {
		if chains := t.ConnectionState().VerifiedChains; len(chains) > 0 {
			credentials.Certificates = chains[0]
		}
	}
	if credentials.Password == "" && credentials.Certificates == nil {
		return fault.New(codes.PermissionDenied, "credentials are required")
	}
	device, err := c.server.o.Gate.Login(ctx, credentials)
	if err != nil {
		return err
	}
	id := p.ClientIdentifier
	switch {
	case id == "" && p.CleanSession: // the server assigns one (section 3.1.3.1)
	case id != device.ID:
		return fault.New(codes.InvalidArgument, fmt.Sprintf("client id %.64q of device %.64q", id, device.ID))
	}
	if !validID(device.ID) {
		return fault.New(codes.InvalidArgument, fmt.Sprintf("device id %.64q, expected 1 to 64 of A-Z a-z 0-9 _ -", device.ID))
	}
	c.device = device
	return nil
}

// validID reports whether a device id can be a client id at any broker and a level of a topic.
func validID(id string) bool {
	for _, r := range id {
		if (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && (r < '0' || r > '9') && r != '_' && r != '-' {
			return false
		}
	}
	return id != "" && len(id) <= 64
}

// connectBroker connects to the broker as the device and returns its CONNACK.
func (c *conn) connectBroker(ctx context.Context, clean bool) (*packets.ConnackPacket, error) {
	nc, err := c.server.o.Dial(ctx)
	if err != nil {
		return nil, err
	}
	if !c.setBroker(nc) {
		_ = nc.Close()
		return nil, net.ErrClosed
	}
	deadline, _ := ctx.Deadline()
	if err := nc.SetReadDeadline(deadline); err != nil {
		return nil, err
	}
	err = c.forward(&packets.ConnectPacket{
		FixedHeader:      packets.FixedHeader{MessageType: packets.Connect},
		ProtocolName:     "MQTT",
		ProtocolVersion:  4,
		CleanSession:     clean,
		ClientIdentifier: ClientIDPrefix + c.device.ID,
		UsernameFlag:     c.server.o.User != "",
		Username:         c.server.o.User,
		PasswordFlag:     c.server.o.Password != "",
		Password:         []byte(c.server.o.Password),
	})
	if err != nil {
		return nil, err
	}
	c.fromBroker = packet.NewReader(nc, packet.Server)
	p, err := c.fromBroker.Next(c.server.o.Limits.ConnectBytes)
	if err != nil {
		return nil, err
	}
	connack, ok := p.(*packets.ConnackPacket)
	if !ok {
		return nil, packet.ErrUnexpected
	}
	if connack.ReturnCode != packets.Accepted {
		return nil, fmt.Errorf("the broker refuses with code %d", connack.ReturnCode)
	}
	return connack, nc.SetReadDeadline(time.Time{})
}

// setBroker hands the broker's connection over to close, and reports false if that was called before.
func (c *conn) setBroker(nc net.Conn) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return false
	}
	c.broker = nc
	return true
}

// prepare sets what the packets after the CONNECT need.
func (c *conn) prepare(p *packets.ConnectPacket) {
	o := &c.server.o
	c.publish = entries(o.Publish, c.device.ID)
	c.subscribe = entries(o.Subscribe, c.device.ID)
	c.limiter = rate.NewLimiter(o.Limits.Rate, o.Limits.Burst)
	keepalive := time.Duration(p.Keepalive) * time.Second
	if keepalive == 0 || keepalive > o.Limits.Keepalive {
		keepalive = o.Limits.Keepalive
	}
	c.silence = keepalive + keepalive/2 // section 3.1.2.10
}
