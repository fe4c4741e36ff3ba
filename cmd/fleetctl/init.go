package main

import (
	_ "embed"
	"errors"
	"fmt"
	"io/fs"
	"os"

	"github.com/urfave/cli/v2"
)

// The files that "fleetctl init" writes.
var (
	//go:embed init/fleet.yaml
	initFleet []byte
	//go:embed init/inventory.yaml
	initInventory []byte
)

func (a *app) initCommand() *cli.Command {
	return &cli.Command{
		Name:  "init",
		Usage: "write fleet.yaml and inventory.yaml to start from",
		Action: func(c *cli.Context) error {
			if c.Args().Present() {
				return usage("init takes no arguments")
			}
			return a.initFiles(map[string][]byte{"fleet.yaml": initFleet, "inventory.yaml": initInventory})
		},
	}
}

// initFiles writes both files or, when one of them is there already, none.
func (a *app) initFiles(files map[string][]byte) error {
	for _, name := range []string{"fleet.yaml", "inventory.yaml"} {
		if _, err := os.Lstat(name); !errors.Is(err, fs.ErrNotExist) {
			return inputError(fmt.Errorf("%s is there already: nothing was written", name))
		}
	}
	for _, name := range []string{"fleet.yaml", "inventory.yaml"} {
		if err := writeNew(name, files[name]); err != nil {
			return err
		}
		a.say("wrote %s", name)
	}
	a.say("next: edit both, then \"fleetctl scan\"")
	return nil
}

// writeNew creates a file; a half-written one is removed.
func writeNew(name string, content []byte) error {
	f, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
	if err != nil {
		return err
	}
	_, err = f.Write(content)
	if err = errors.Join(err, f.Close()); err != nil {
		return errors.Join(err, os.Remove(name))
	}
	return nil
}
