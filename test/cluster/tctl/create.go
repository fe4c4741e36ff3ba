package tctl

import (
	"errors"
	"fmt"
	"io"
	"os"

	"fleetctl/test/cluster"
	"fleetctl/test/cluster/cli"
	"fleetctl/test/cluster/versions"
)

// create applies the documents of a file in turn and stops at the first error: what stands before it stays applied.
func (t *tool) create(args []string) error {
	given, err := cli.Command{Name: "tctl create", Args: 1, Flags: []cli.Flag{{Name: "force", Short: 'f', Bool: true}}}.Parse(args)
	if err != nil {
		return err
	}
	in := t.Stdin
	if len(given.Args) == 1 {
		f, err := os.Open(given.Args[0])
		if err != nil {
			return err
		}
		defer f.Close()
		in = f
	}
	dec := cluster.NewDecoder(in)
	dec.Lax = !versions.Has("tctl.token_unknown_fields_refused", t.V)
	for n := 0; ; n++ {
		r, err := dec.Next()
		if errors.Is(err, io.EOF) && n > 0 {
			return nil
		}
		if errors.Is(err, io.EOF) {
			return errors.New("no resources found, empty input?")
		}
		if err != nil {
			return err
		}
		if err := t.put(r, given.True("force")); err != nil {
			return err
		}
	}
}

// put creates or replaces one resource. A token is replaced with or without -f; a bot needs it (versions.md, E).
func (t *tool) put(r cluster.Resource, force bool) error {
	if err := t.server.Admit("create", r.Kind()); err != nil {
		return err
	}
	if r.Token != nil {
		if err := t.store.PutToken(r.Token); err != nil {
			return err
		}
		_, err := fmt.Fprintln(t.Stdout, versions.Text("tctl.token_created", "NAME", r.Name()))
		return err
	}
	if err := t.store.PutBot(r.Bot, force); err != nil {
		return err
	}
	_, err := fmt.Fprintln(t.Stdout, versions.Text("tctl.bot_created", "NAME", r.Name()))
	return err
}
