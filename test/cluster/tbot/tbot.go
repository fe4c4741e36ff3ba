// Package tbot is a stand-in for Teleport's tbot: it reads the same configuration, joins the stand-in auth service
// with the host's TPM, keeps an identity in its storage directory, renews it and serves the diagnostics endpoints. What
// it takes, says and does is that of the version which it plays, by test/cluster/versions.
package tbot

import (
	"context"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"fleetctl/test/cluster/cli"
	"fleetctl/test/cluster/versions"
)

// Main runs tbot with the arguments of a command line and returns its exit code. Its version is the one that
// versions.Running names.
func Main(args []string, stdout, stderr io.Writer) int {
	program, err := versions.Running()
	if err != nil {
		return cli.Exit(stderr, "tbot", cli.Unscripted("%v", err))
	}
	return Run(program, args, stdout, stderr)
}

// Run is Main for a version.
func Run(program versions.Program, args []string, stdout, stderr io.Writer) int {
	t := &tool{Program: program, stdout: stdout, stderr: stderr}
	err := t.run(args)
	if errors.Is(err, context.Canceled) {
		err = nil
	}
	return cli.Exit(stderr, "tbot", err)
}

// tool is a tbot of some version that is run with a command.
type tool struct {
	versions.Program
	stdout, stderr io.Writer
}

func (t *tool) run(args []string) error {
	if len(args) == 0 {
		return cli.Unscripted("tbot without a command")
	}
	rest := args[1:]
	switch args[0] {
	case "version":
		_, err := fmt.Fprintln(t.stdout, t.Line())
		return err
	case "start":
		return t.start(rest)
	case "wait":
		if !versions.Has("tbot.wait", t.V) {
			return t.noCommand("wait")
		}
		return t.wait(rest)
	case "tpm":
		if len(rest) > 0 && rest[0] == "identify" {
			return t.identify(rest[1:])
		}
	case "install":
		if !versions.Has("tbot.install_systemd", t.V) {
			return t.noCommand("install")
		}
		if len(rest) > 0 && rest[0] == "systemd" {
			return t.installSystemd(rest[1:])
		}
	}
	return cli.Unscripted("tbot %s", strings.Join(args, " "))
}

// noCommand is what kingpin says of a command that this version does not have.
func (t *tool) noCommand(name string) error {
	return &cli.Misuse{Usage: "Usage: tbot [<flags>] <command> [<args> ...]\n", Text: fmt.Sprintf("expected command but got %q", name)}
}

// firstHeader is up to where the first line that identify prints ended in a colon. That the very first builds had it was
// seen (sample tpm-identify-colon.txt), and not which was the last.
const firstHeader = "15.4.0"

// identify prints the TPM's identity: versions.md, A, from tpm.go@3600bdca; samples tpm-identify-*.txt.
func (t *tool) identify(args []string) error {
	given, err := cli.Command{Name: "tbot tpm identify", Flags: debugFlags}.Parse(args)
	if err != nil {
		return err
	}
	tpm, err := openTPM(os.Getenv("STANDIN_TPM"))
	if err != nil {
		return err
	}
	defer tpm.Close()
	p, err := present(tpm)
	if err != nil {
		return err
	}
	header := "TPM Information"
	if t.Compare(versions.Must(firstHeader)) < 0 {
		header = versions.Text("tbot.tpm_identify.header_variant")
	}
	fmt.Fprintf(t.stdout, "%s\nEKPub Hash: %s\nEKCert Detected: %t\n", header, p.Hash, p.EKCert != nil)
	if p.EKCert != nil {
		fmt.Fprintf(t.stdout, "EKCert Serial: %s\n", p.Serial)
	}
	if given.True("debug") {
		return p.writePEM(t.stdout)
	}
	return nil
}

func (p presented) writePEM(w io.Writer) error {
	key := p.EKKey
	if p.EKCert != nil {
		cert, err := x509.ParseCertificate(p.EKCert)
		if err != nil {
			return err
		}
		key = cert.RawSubjectPublicKeyInfo
		if err := pem.Encode(w, &pem.Block{Type: "CERTIFICATE", Bytes: p.EKCert}); err != nil {
			return err
		}
	}
	return pem.Encode(w, &pem.Block{Type: "PUBLIC KEY", Bytes: key})
}
