package main

import (
	"os"
	"strings"

	"github.com/urfave/cli/v2"

	"fleetctl/inventory/vault"
)

// Flags that say what decrypts an inventory.
func (a *app) vaultFlags() []cli.Flag {
	return []cli.Flag{
		&cli.StringSliceFlag{Name: "vault-password-file", Usage: "a `FILE` with the vault password, or a program that prints it; again for more"},
		&cli.StringSliceFlag{Name: "vault-id", Usage: "a vault `ID@SOURCE`, whose source is a file, a program or prompt; again for more"},
		&cli.BoolFlag{Name: "ask-vault-pass", Aliases: []string{"J"}, Usage: "ask for the vault password"},
		&cli.BoolFlag{Name: "ignore-vault", Usage: "go on without the encrypted files and passwords that nothing decrypts"},
	}
}

// keyring is what decrypts the inventory: vault IDs of the environment and of the command line, then password files,
// then a prompt, in Ansible's order.
func (a *app) keyring(c *cli.Context) (*vault.Keyring, error) {
	var sources []vault.Source
	ids := c.StringSlice("vault-id")
	if list := os.Getenv("ANSIBLE_VAULT_IDENTITY_LIST"); list != "" {
		ids = append(strings.Split(list, ","), ids...)
	}
	for _, id := range ids {
		s, err := vault.ParseSource(strings.TrimSpace(id))
		if err != nil {
			return nil, usage("--vault-id: %v", err)
		}
		sources = append(sources, s)
	}
	for _, file := range append(c.StringSlice("vault-password-file"), os.Getenv("ANSIBLE_VAULT_PASSWORD_FILE")) {
		if file != "" {
			sources = append(sources, vault.Source{From: file})
		}
	}
	if c.Bool("ask-vault-pass") {
		sources = append(sources, vault.Source{From: vault.Prompt})
	}
	opts := vault.Options{Sources: sources, Ask: a.askVault, Stderr: a.stderr}
	if f, ok := a.stdin.(*os.File); ok && isTerminal(f) {
		opts.Stdin = f
	}
	return vault.New(opts), nil
}

// askVault asks for the password of a vault ID.
func (a *app) askVault(id string) (string, error) {
	what := "vault password"
	if id != vault.DefaultID {
		what += " (" + id + ")"
	}
	return a.promptOr(what, "use --vault-password-file")
}
