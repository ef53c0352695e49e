package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"reflect"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"

	"github.com/portico-bff/portico/mesh"
)

func meshCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:     "mesh",
		Short:   "Look at the mesh's policy",
		Example: `  bff mesh explain --policy mesh.yaml --identity spiffe://shop.test/portico --target orders shop.orders.v1.OrderService/GetOrder`,
	}
	cmd.AddCommand(meshExplainCommand())
	return cmd
}

// explainFlags are the call to explain.
type explainFlags struct {
	policy, identity, target string
	headers                  []string
	json                     bool
}

func meshExplainCommand() *cobra.Command {
	var f explainFlags
	cmd := &cobra.Command{
		Use:   "explain METHOD",
		Short: "Say what a mesh policy makes of a call",
		Long: `Says what the policy in a file makes of a call, without making it: the authorization rule that admits or denies the
caller at the server, what bounds it there, and, at the client, the destination with its balancing, limits and ejection,
and the route with its split, faults, timeout, retries and hedges.

The caller is --identity; without it, the server's side is left out. --target is what the client dials, such as
dns:///orders:443; without it, the client's side is. METHOD is package.Service/Method.`,
		Example: `  bff mesh explain --policy mesh.yaml --identity spiffe://shop.test/portico --target orders shop.orders.v1.OrderService/GetOrder
  bff mesh explain --policy mesh.yaml --target orders --header x-canary=true --json shop.orders.v1.OrderService/GetOrder`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			e, err := f.explain(args[0])
			if err != nil {
				return err
			}
			if f.json {
				return writeExplanation(cmd.OutOrStdout(), e)
			}
			_, err = io.WriteString(cmd.OutOrStdout(), e.String())
			return err
		},
	}
	flags := cmd.Flags()
	flags.StringVar(&f.policy, "policy", "", "policy file (required)")
	flags.StringVar(&f.identity, "identity", "", "SPIFFE id of the caller")
	flags.StringVar(&f.target, "target", "", "what the client dials")
	flags.StringArrayVar(&f.headers, "header", nil, "metadata of the call as NAME=VALUE; may be repeated")
	flags.BoolVar(&f.json, "json", false, "print JSON")
	_ = cmd.MarkFlagRequired("policy")
	return cmd
}

func (f *explainFlags) explain(method string) (mesh.Explanation, error) {
	q := mesh.Query{Target: f.target, Method: "/" + strings.TrimPrefix(method, "/"), Metadata: metadata.MD{}}
	if service, name, ok := strings.Cut(q.Method[1:], "/"); !ok || service == "" || name == "" || strings.Contains(name, "/") {
		return mesh.Explanation{}, fmt.Errorf("method %q: expected package.Service/Method", method)
	}
	if f.identity == "" && f.target == "" {
		return mesh.Explanation{}, errors.New("nothing to explain: expected --identity, --target or both")
	}
	if f.identity != "" {
		id, err := spiffeid.FromString(f.identity)
		if err != nil {
			return mesh.Explanation{}, fmt.Errorf("--identity %q: %w", f.identity, err)
		}
		q.Caller = id
	}
	for _, header := range f.headers {
		name, value, ok := strings.Cut(header, "=")
		if !ok || name == "" {
			return mesh.Explanation{}, fmt.Errorf("--header %q: expected NAME=VALUE", header)
		}
		q.Metadata.Append(name, value)
	}
	policy, err := mesh.LoadPolicy(f.policy)
	if err != nil {
		return mesh.Explanation{}, err
	}
	return policy.Explain(q), nil
}

func writeExplanation(w io.Writer, e mesh.Explanation) error {
	text, err := json.MarshalIndent(plain(reflect.ValueOf(e)), "", "  ")
	if err != nil {
		return fmt.Errorf("encode the explanation: %w", err)
	}
	_, err = fmt.Fprintln(w, string(text))
	return err
}

// plain makes of an explanation what JSON holds of it: fields in lower camel case; durations, gRPC codes and SPIFFE ids as
// texts.
func plain(v reflect.Value) any {
	switch value := v.Interface().(type) {
	case time.Duration, codes.Code, spiffeid.ID:
		return fmt.Sprint(value)
	}
	switch v.Kind() {
	case reflect.Struct:
		fields := map[string]any{}
		for i := range v.NumField() {
			if name := v.Type().Field(i).Name; v.Type().Field(i).IsExported() {
				fields[strings.ToLower(name[:1])+name[1:]] = plain(v.Field(i))
			}
		}
		return fields
	case reflect.Slice:
		elements := make([]any, v.Len())
		for i := range elements {
			elements[i] = plain(v.Index(i))
		}
		return elements
	case reflect.Map:
		entries := map[string]any{}
		for key, value := range v.Seq2() {
			entries[fmt.Sprint(key)] = plain(value)
		}
		return entries
	default:
		return v.Interface()
	}
}
