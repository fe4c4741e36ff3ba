package main

import (
	"context"
	"os"

	"github.com/urfave/cli/v2"

	"fleetctl/inventory/ansiblecfg"
	"fleetctl/inventory/vault"
)

// Flags that say what decrypts an inventory.
func (a *app) vaultFlags() []cli.Flag {
	return []cli.Flag{
		&cli.StringSliceFlag{Name: "vault-password-file",
			Usage: "a `FILE` with the vault password, or a program that prints it; again for more"},
		&cli.StringSliceFlag{Name: "vault-id", Usage: "a vault `ID@SOURCE`, whose source is a file, a program or prompt; again for more"},
		&cli.BoolFlag{Name: "ask-vault-pass", Aliases: []string{"J"}, Usage: "ask for the vault password"},
		&cli.BoolFlag{Name: "ignore-vault", Usage: "go on without the encrypted files and passwords that nothing decrypts"},
	}
}

// keyring is what decrypts the inventory: vault IDs of Ansible's settings and of the command line, then password files,
// then a prompt, in Ansible's order.
func (a *app) keyring(c *cli.Context, cfg *ansiblecfg.Config) (*vault.Keyring, error) {
	id := cfg.Text(ansiblecfg.VaultIdentity)
	var sources []vault.Source
	for _, text := range append(cfg.List(ansiblecfg.VaultIdentityList), c.StringSlice("vault-id")...) {
		if text == "" {
			continue // of an empty variable
		}
		s, err := vault.ParseSource(text)
		if err != nil {
			return nil, usage("--vault-id: %v", err)
		}
		sources = append(sources, s)
	}
	for _, file := range c.StringSlice("vault-password-file") {
		sources = append(sources, vault.Source{ID: id, From: file})
	}
	if s, ok := cfg.Get(ansiblecfg.VaultPasswordFile); ok && s.Value != workDir() { // an empty variable is the directory
		sources = append(sources, vault.Source{ID: id, From: cfg.Text(ansiblecfg.VaultPasswordFile)})
	}
	if c.Bool("ask-vault-pass") || cfg.Bool(ansiblecfg.AskVaultPass) {
		sources = append(sources, vault.Source{ID: id, From: vault.Prompt})
	}
	opts := vault.Options{
		Sources: sources, Match: cfg.Bool(ansiblecfg.VaultIDMatch), Stderr: a.forChildren(),
		Ask: func(id string) (string, error) { return a.askVault(c.Context, id) },
	}
	if f, ok := a.stdin.(*os.File); ok && isTerminal(f) {
		opts.Stdin = f
	}
	return vault.New(opts), nil
}

// askVault asks for the password of a vault ID.
func (a *app) askVault(ctx context.Context, id string) (string, error) {
	what := "vault password"
	if id != vault.DefaultID {
		what += " (" + id + ")"
	}
	return a.promptOr(ctx, what, "use --vault-password-file")
}

// workDir is the working directory, or "".
func workDir() string {
	dir, err := os.Getwd()
	if err != nil {
		return ""
	}
	return dir
}
