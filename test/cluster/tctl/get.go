package tctl

import (
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"

	machineidv1 "github.com/gravitational/teleport/api/gen/proto/go/teleport/machineid/v1"
	"github.com/gravitational/teleport/api/types"
	"gopkg.in/yaml.v3"

	"fleetctl/test/cluster"
	"fleetctl/test/cluster/cli"
	"fleetctl/test/cluster/versions"
)

// get prints resources: JSON is always an array, YAML is a document a resource.
func (t *tool) get(args []string) error {
	given, err := cli.Command{Name: "tctl get", Args: 1, Flags: []cli.Flag{
		{Name: "format"}, {Name: "with-secrets", Bool: true},
	}}.Parse(args)
	if err != nil {
		return err
	}
	kind, name, err := reference(given.Args)
	if err != nil {
		return err
	}
	list, err := t.resources(kind, name)
	if err != nil {
		return err
	}
	switch format := given.Text("format"); format {
	case "json":
		return t.writeJSON(list)
	case "yaml", "":
		return t.writeYAML(list)
	case "text":
		return writeText(t.Stdout, list)
	default:
		return fmt.Errorf("unsupported format %q", format)
	}
}

// resources gets one resource by name, or all of a kind.
func (t *tool) resources(kind, name string) ([]any, error) {
	if kind == cluster.KindBotInstance && !versions.Has("tctl.bot_instance.exists", t.V) {
		return nil, fmt.Errorf("getting %q is not supported", kind)
	}
	verb := "read"
	if name == "" || kind == cluster.KindBotInstance {
		verb = "list"
	}
	if err := t.server.Admit(verb, kind); err != nil {
		return nil, err
	}
	switch {
	case kind == cluster.KindToken && name != "":
		return one(t.store.Token(name))
	case kind == cluster.KindToken:
		return many(t.store.Tokens())
	case kind == cluster.KindBot && name != "":
		return one(t.store.Bot(name))
	case kind == cluster.KindBot:
		return many(t.store.Bots())
	case kind == cluster.KindBotInstance:
		return t.instances(name)
	}
	return nil, cli.Unscripted("tctl get %s/%s", kind, name)
}

// instances gets all bot instances (""), those of a bot (BOT) or one of them (BOT/ID).
func (t *tool) instances(name string) ([]any, error) {
	bot, id, _ := strings.Cut(name, "/")
	list, err := t.store.Instances(bot)
	if err != nil || id == "" {
		return many(list, err)
	}
	for _, instance := range list {
		if instance.Spec.InstanceId == id {
			return []any{instance}, nil
		}
	}
	return nil, fmt.Errorf("bot_instance %q not found", name)
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

func (t *tool) writeJSON(list []any) error {
	docs := make([]any, 0, len(list))
	for _, item := range list {
		doc, err := t.shape(item)
		if err != nil {
			return err
		}
		docs = append(docs, doc)
	}
	data, err := json.MarshalIndent(docs, "", "  ")
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(t.Stdout, "%s\n", data)
	return err
}

func (t *tool) writeYAML(list []any) error {
	enc := yaml.NewEncoder(t.Stdout)
	enc.SetIndent(2)
	defer enc.Close()
	for _, item := range list {
		doc, err := t.shape(item)
		if err != nil {
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
