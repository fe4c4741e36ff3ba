package tctl

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"

	machineidv1 "github.com/gravitational/teleport/api/gen/proto/go/teleport/machineid/v1"
	"github.com/gravitational/teleport/api/types"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"gopkg.in/yaml.v3"

	"fleetctl/test/cluster"
)

// get prints resources: JSON is always an array, YAML is a document a resource.
func get(env Env, store *cluster.Store, args []string) error {
	flags := newFlags("get")
	format := flags.String("format", "yaml", "")
	flags.Bool("with-secrets", false, "")
	refs, err := parse(flags, args)
	if err != nil {
		return err
	}
	if len(refs) != 1 {
		return errors.New(usage)
	}
	kind, name, _ := strings.Cut(refs[0], "/")
	list, err := resources(store, canonical(kind), name)
	if err != nil {
		return err
	}
	switch *format {
	case "json":
		return writeJSON(env.Stdout, list)
	case "yaml":
		return writeYAML(env.Stdout, list)
	case "text":
		return writeText(env.Stdout, list)
	default:
		return fmt.Errorf("unsupported format %q", *format)
	}
}

// resources gets one resource by name, or all of a kind.
func resources(store *cluster.Store, kind, name string) ([]any, error) {
	switch {
	case kind == cluster.KindToken && name != "":
		return one(store.Token(name))
	case kind == cluster.KindToken:
		return many(store.Tokens())
	case kind == cluster.KindBot && name != "":
		return one(store.Bot(name))
	case kind == cluster.KindBot:
		return many(store.Bots())
	case kind == "bot_instance":
		bot, id, _ := strings.Cut(name, "/")
		list, err := store.Instances(bot)
		if err != nil || id == "" {
			return many(list, err)
		}
		for _, instance := range list {
			if instance.Spec.InstanceId == id {
				return []any{instance}, nil
			}
		}
		return nil, fmt.Errorf("bot_instance %q %w", name, cluster.ErrNotFound)
	}
	return nil, fmt.Errorf("getting %q is not supported", kind)
}

func one[T any](item T, err error) ([]any, error) {
	if err != nil {
		return nil, err
	}
	return []any{item}, nil
}

func many[T any](list []T, err error) ([]any, error) {
	items := make([]any, 0, len(list))
	for _, item := range list {
		items = append(items, item)
	}
	return items, err
}

// toJSON encodes a resource as the cluster's API does: newer resources are protobuf messages with snake-case names.
func toJSON(item any) (json.RawMessage, error) {
	if msg, ok := item.(proto.Message); ok {
		return protojson.MarshalOptions{UseProtoNames: true}.Marshal(msg)
	}
	return json.Marshal(item)
}

func writeJSON(w io.Writer, list []any) error {
	raw := make([]json.RawMessage, 0, len(list))
	for _, item := range list {
		data, err := toJSON(item)
		if err != nil {
			return err
		}
		raw = append(raw, data)
	}
	data, err := json.MarshalIndent(raw, "", "    ")
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(w, "%s\n", data)
	return err
}

func writeYAML(w io.Writer, list []any) error {
	enc := yaml.NewEncoder(w)
	enc.SetIndent(2)
	defer enc.Close()
	for _, item := range list {
		data, err := toJSON(item)
		if err != nil {
			return err
		}
		var doc any
		if err := json.Unmarshal(data, &doc); err != nil {
			return err
		}
		if err := enc.Encode(doc); err != nil {
			return err
		}
	}
	return nil
}

func writeText(w io.Writer, list []any) error {
	tw := tabwriter.NewWriter(w, 0, 4, 2, ' ', 0)
	for _, item := range list {
		switch r := item.(type) {
		case *types.ProvisionTokenV2:
			fmt.Fprintf(tw, "%s\t%s\t%s\n", r.GetName(), r.Spec.Roles, r.Spec.JoinMethod)
		case *machineidv1.Bot:
			fmt.Fprintf(tw, "%s\t%s\n", r.GetMetadata().GetName(), strings.Join(r.GetSpec().GetRoles(), ","))
		case *machineidv1.BotInstance:
			fmt.Fprintf(tw, "%s\t%s\n", r.GetSpec().GetBotName(), r.GetSpec().GetInstanceId())
		}
	}
	return tw.Flush()
}
