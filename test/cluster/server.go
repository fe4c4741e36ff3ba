package cluster

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"fleetctl/test/cluster/cli"
	"fleetctl/test/cluster/versions"
)

// Server is what the auth service of a store is like. It is kept in the store, because the stand-in for tctl asks no
// service: it plays the server's answers, too.
type Server struct {
	Version string `json:"version"`
	OSS     bool   `json:"oss,omitempty"` // without the licence that the tpm join method needs
	MFA     bool   `json:"mfa,omitempty"` // admin actions need a second factor
	// Denied are actions that tctl's user may not do, as "VERB KIND": "create token", "list bot_instance".
	Denied []string `json:"denied,omitempty"`
	Alerts []string `json:"alerts,omitempty"` // cluster alerts, which tctl status prints
	// MetadataHash has the server write the EKPub hash into the structureless metadata that it keeps before join_attrs.
	// Whether it does is not known (versions.md, I).
	MetadataHash bool `json:"metadata_hash,omitempty"`
}

// V is the server's version.
func (s Server) V() versions.V { return versions.Must(s.Version) }

const serverFile = "server.json"

// SetServer says what the auth service is from now on.
func (s *Store) SetServer(server Server) error {
	if _, err := versions.Parse(server.Version); err != nil {
		return err
	}
	data, err := json.Marshal(server)
	if err != nil {
		return err
	}
	tmp := filepath.Join(s.dir, serverFile+".new")
	if err := os.WriteFile(tmp, data, 0o600); err != nil {
		return err
	}
	return os.Rename(tmp, filepath.Join(s.dir, serverFile))
}

// Server says what the auth service is: an Enterprise one of the default version, if nobody has said.
func (s *Store) Server() (Server, error) {
	server := Server{Version: versions.Default}
	data, err := os.ReadFile(filepath.Join(s.dir, serverFile))
	if errors.Is(err, fs.ErrNotExist) {
		return server, nil
	}
	if err != nil {
		return server, err
	}
	return server, json.Unmarshal(data, &server)
}

// words of the server that versions.yaml does not have.
const (
	mfaWords        = "admin-level API request requires MFA verification" // versions.md, E; sample tctl-mfa.stderr
	enterpriseWords = "this feature requires Teleport Enterprise"         // versions.md, D; sample journal-enterprise.txt
)

// Admit says whether tctl's user may do something to a kind of resource: by the roles first, then by the second factor,
// which tokens and bots need and bot instances don't (versions.md, E).
func (s Server) Admit(verb, kind string) error {
	if slices.Contains(s.Denied, verb+" "+kind) {
		return fmt.Errorf("access denied to perform action %q on %q", verb, kind)
	}
	if s.MFA && slices.Contains(versions.List("tctl.mfa_kinds"), kind) {
		return errors.New(mfaWords)
	}
	return nil
}

// errLicence is what a server without a licence says, at joins and when tokens are created (versions.md, D and F).
func errLicence() error { return cli.Wrap(errors.New(enterpriseWords), "tpm joining") }

// MaskToken hides three quarters of a token's name, as servers do in their errors (versions.md, E; sample
// tctl-get-token-missing.stderr).
func MaskToken(name string) string {
	hidden := len(name) * 3 / 4
	return strings.Repeat("*", hidden) + name[hidden:]
}

func noToken(name string) error {
	return &absent{versions.Text("tctl.token_missing", "MASKED", MaskToken(name))}
}

func noBot(name string) error {
	lines := versions.List("tctl.bot_missing_lines")
	return &absent{strings.ReplaceAll(strings.Join(lines, "\n"), "NAME", name)}
}

// absent is an ErrNotFound with the server's words.
type absent struct{ text string }

func (a *absent) Error() string        { return a.text }
func (a *absent) Is(target error) bool { return target == ErrNotFound }
