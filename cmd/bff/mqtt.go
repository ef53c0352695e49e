package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	mqtt "github.com/eclipse/paho.mqtt.golang"
	"github.com/google/uuid"
	"github.com/spf13/cobra"
)

// maxPayload bounds what one message may carry.
const maxPayload = 128 << 10

// mqttFlags say how to connect.
type mqttFlags struct {
	url, client, username, password string
	qos                             uint8
	timeout                         time.Duration
}

func mqttCommand() *cobra.Command {
	cmd := &cobra.Command{Use: "mqtt", Short: "Publish and subscribe over MQTT, for machines without mosquitto_pub"}
	cmd.AddCommand(mqttPubCommand(), mqttSubCommand())
	return cmd
}

func (f *mqttFlags) register(cmd *cobra.Command) {
	flags := cmd.Flags()
	flags.StringVar(&f.url, "url", "tcp://127.0.0.1:1883", "URL of the MQTT door")
	flags.StringVarP(&f.client, "id", "i", "", "client id (the user name if empty)")
	flags.StringVarP(&f.username, "username", "u", "", "user name: the device's id")
	flags.StringVarP(&f.password, "password", "P", "", "password: the device's token")
	flags.Uint8VarP(&f.qos, "qos", "q", 1, "quality of service: 0 or 1")
	flags.DurationVar(&f.timeout, "timeout", 10*time.Second, "how long to wait for the server")
}

// connect opens a connection. lost receives the reason if it breaks; it must have room for one value.
func (f *mqttFlags) connect(ctx context.Context, lost chan<- error) (mqtt.Client, error) {
	if f.qos > 1 {
		return nil, fmt.Errorf("--qos %d: expected 0 or 1", f.qos)
	}
	id := f.client
	if id == "" {
		id = f.username
	}
	if id == "" {
		id = "bff-" + uuid.NewString()
	}
	client := mqtt.NewClient(mqtt.NewClientOptions().AddBroker(f.url).SetClientID(id).
		SetUsername(f.username).SetPassword(f.password).SetProtocolVersion(4).SetConnectTimeout(f.timeout).
		SetAutoReconnect(false).SetConnectionLostHandler(func(_ mqtt.Client, err error) {
		select {
		case lost <- err:
		default:
		}
	}))
	if err := f.wait(ctx, client.Connect(), nil); err != nil {
		return nil, fmt.Errorf("connect to %s: %w", f.url, err)
	}
	return client, nil
}

// wait waits for the server's acknowledgement.
func (f *mqttFlags) wait(ctx context.Context, token mqtt.Token, lost <-chan error) error {
	ctx, cancel := context.WithTimeout(ctx, f.timeout)
	defer cancel()
	select {
	case <-token.Done():
		return token.Error()
	case err := <-lost:
		return fmt.Errorf("the server closed the connection: %w", err)
	case <-ctx.Done():
		return fmt.Errorf("no acknowledgement: %w", ctx.Err())
	}
}

func mqttPubCommand() *cobra.Command {
	var f mqttFlags
	var topic, message string
	cmd := &cobra.Command{
		Use:   "pub",
		Short: "Publish one message and wait until the server has stored it",
		Example: `  bff mqtt pub -u box-0001 -P "$TOKEN" -t boxes/box-0001/telemetry -m '{"celsius": 3.5}'
  echo '{"celsius": 3.5}' | bff mqtt pub -u box-0001 -P "$TOKEN" -t boxes/box-0001/telemetry`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			payload := []byte(message)
			if !cmd.Flags().Changed("message") {
				var err error
				if payload, err = io.ReadAll(io.LimitReader(bufio.NewReader(cmd.InOrStdin()), maxPayload+1)); err != nil {
					return fmt.Errorf("read the message: %w", err)
				}
			}
			if len(payload) > maxPayload {
				return fmt.Errorf("the message is over %d bytes", maxPayload)
			}
			lost := make(chan error, 1)
			client, err := f.connect(cmd.Context(), lost)
			if err != nil {
				return err
			}
			defer client.Disconnect(250)
			if err := f.wait(cmd.Context(), client.Publish(topic, f.qos, false, payload), lost); err != nil {
				return fmt.Errorf("publish to %s: %w", topic, err)
			}
			return nil
		},
	}
	f.register(cmd)
	cmd.Flags().StringVarP(&topic, "topic", "t", "", "topic (required)")
	cmd.Flags().StringVarP(&message, "message", "m", "", "message (read from standard input if absent)")
	_ = cmd.MarkFlagRequired("topic")
	return cmd
}

func mqttSubCommand() *cobra.Command {
	var f mqttFlags
	var topics []string
	var count int
	cmd := &cobra.Command{
		Use:   "sub",
		Short: "Print the messages of topics, one a line, until interrupted",
		Example: `  bff mqtt sub -u box-0001 -P "$TOKEN" -t boxes/box-0001/commands
  bff mqtt sub -u box-0001 -P "$TOKEN" -t boxes/box-0001/commands --count 1`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			lost := make(chan error, 1)
			client, err := f.connect(cmd.Context(), lost)
			if err != nil {
				return err
			}
			defer client.Disconnect(250)
			messages := make(chan mqtt.Message, 256)
			for _, topic := range topics {
				token := client.Subscribe(topic, f.qos, func(_ mqtt.Client, m mqtt.Message) {
					select {
					case messages <- m:
					case <-cmd.Context().Done():
					}
				})
				if err := f.wait(cmd.Context(), token, lost); err != nil {
					return fmt.Errorf("subscribe to %s: %w", topic, err)
				}
				if granted, ok := token.(*mqtt.SubscribeToken); ok && granted.Result()[topic] == 0x80 {
					return fmt.Errorf("subscribe to %s: the server refused", topic)
				}
			}
			for seen := 0; count == 0 || seen < count; seen++ {
				select {
				case m := <-messages:
					if _, err := fmt.Fprintf(cmd.OutOrStdout(), "%s %s\n", m.Topic(), m.Payload()); err != nil {
						return err
					}
				case err := <-lost:
					return errors.Join(errors.New("the server closed the connection"), err)
				case <-cmd.Context().Done():
					return nil
				}
			}
			return nil
		},
	}
	f.register(cmd)
	cmd.Flags().StringArrayVarP(&topics, "topic", "t", nil, "topic filter (required); may be repeated")
	cmd.Flags().IntVar(&count, "count", 0, "stop after so many messages; 0 for never")
	_ = cmd.MarkFlagRequired("topic")
	return cmd
}
