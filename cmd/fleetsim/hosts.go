//go:build linux

package main

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"sync"

	"golang.org/x/crypto/ssh"

	"fleetctl/remote/remotetest"
)

// spec is what the controller tells the hosts' process, as JSON on its stdin. The end of stdin is the end of the fleet.
type spec struct {
	Dir         string // DIR, absolute; the working directory is hosts in it
	Isolate     bool   // namespaces of our own are there
	Verbose     bool
	Swtpm       string // "" for hosts without TPMs
	CA, Foreign ca
	ClientKey   []byte // the public key that may log in, in the wire format
	Hosts       []host
}

// event is what the hosts' process tells the controller, as JSON lines on its stdout.
type event struct {
	TPMs     int    `json:",omitempty"` // so many are ready
	Ready    bool   `json:",omitempty"`
	Error    string `json:",omitempty"`
	Isolated bool   `json:",omitempty"` // with Error: it was the isolation that failed; without it may work
}

// serveHosts is the hosts' process.
func serveHosts() int {
	in := json.NewDecoder(os.Stdin)
	out := json.NewEncoder(os.Stdout)
	var s spec
	if err := in.Decode(&s); err != nil {
		return 1 // the controller is gone
	}
	if s.Isolate {
		if err := buildBase(); err != nil {
			_ = out.Encode(event{Error: err.Error(), Isolated: true})
			return 1
		}
	}
	f := &fleet{spec: s, report: func(e event) { _ = out.Encode(e) }}
	if err := f.start(); err != nil {
		_ = out.Encode(event{Error: err.Error()})
		return 1
	}
	_ = out.Encode(event{Ready: true})
	_, _ = io.Copy(io.Discard, in.Buffered())
	_, _ = io.Copy(io.Discard, os.Stdin)
	return 0
}

// fleet is the hosts' side of the simulation.
type fleet struct {
	spec
	report func(event)
}

func (f *fleet) start() error {
	if !f.Isolate {
		if err := f.preparePlain(); err != nil {
			return err
		}
	}
	for _, h := range f.Hosts {
		if err := f.makeHost(h); err != nil {
			return fmt.Errorf("%s: %w", h.Name, err)
		}
	}
	if err := f.startTPMs(); err != nil {
		return err
	}
	return f.startSSH()
}

// preparePlain checks that hosts without namespaces reach their files: they have to use absolute paths.
func (f *fleet) preparePlain() error {
	for _, set := range []string{hostShims, plainShims} {
		if err := writeShims(set, ".shims"); err != nil {
			return err
		}
	}
	if _, err := os.Stat(filepath.Join(f.Dir, "hosts/.shims")); err != nil {
		return fmt.Errorf("%w\n  the hosts run as user %d, who can't get there: choose another -dir", err, os.Getuid())
	}
	// A unix socket's path has at most 107 bytes (unix(7)).
	if longest := filepath.Join(f.Dir, "hosts", tpmSocket(f.Hosts[0].Name)); len(longest)+2 > 107 {
		return fmt.Errorf("%s is too long for a socket: choose a shorter -dir", longest)
	}
	return nil
}

// startTPMs provisions TPMs, as many at once as there are processors, and serves them all.
func (f *fleet) startTPMs() error {
	if f.Swtpm == "" {
		return nil
	}
	if err := f.provisionAll(); err != nil {
		return err
	}
	for _, h := range f.Hosts {
		if h.Condition == noTPM || h.Condition == down {
			continue
		}
		if h.Condition == cloned {
			if err := copyState(tpmState(h.CloneOf), tpmState(h.Name)); err != nil {
				return fmt.Errorf("%s: clone the TPM: %w", h.Name, err)
			}
		}
		if _, err := serveTPM(f.Swtpm, tpmState(h.Name), tpmSocket(h.Name)); err != nil {
			return fmt.Errorf("%s: TPM socket: %w", h.Name, err)
		}
	}
	return nil
}

func (f *fleet) provisionAll() error {
	var todo []host
	for _, h := range f.Hosts {
		switch h.Condition {
		case healthy, noTbot, changedKey, foreignEKCert:
			todo = append(todo, h)
		}
	}
	next := make(chan host)
	results := make(chan error)
	var workers sync.WaitGroup
	for range runtime.NumCPU() {
		workers.Go(func() {
			for h := range next {
				results <- f.provision(h)
			}
		})
	}
	go func() {
		for _, h := range todo {
			next <- h
		}
		close(next)
	}()
	var failed error
	for i := range todo {
		failed = cmp.Or(failed, <-results)
		if (i+1)%100 == 0 {
			f.report(event{TPMs: i + 1})
		}
	}
	workers.Wait()
	return failed
}

func (f *fleet) provision(h host) error {
	issuer := f.CA
	if h.Condition == foreignEKCert {
		issuer = f.Foreign
	}
	err := provision(f.Swtpm, tpmState(h.Name), issuer)
	if err == nil {
		return nil
	}
	if log, _ := os.ReadFile(filepath.Join(tpmState(h.Name), "log")); len(log) > 0 {
		return fmt.Errorf("%s: swtpm: %w\n%s", h.Name, err, log)
	}
	return fmt.Errorf("%s: swtpm: %w", h.Name, err)
}

func copyState(from, to string) error {
	const name = "tpm2-00.permall"
	state, err := os.ReadFile(filepath.Join(from, name))
	if err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(to, name), state, 0o600)
}

// startSSH serves all hosts on one listener, which the controller opened.
func (f *fleet) startSSH() error {
	client, err := ssh.ParsePublicKey(f.ClientKey)
	if err != nil {
		return fmt.Errorf("client key: %w", err)
	}
	hosts := make(map[netip.Addr]*remotetest.Host, len(f.Hosts))
	for _, h := range f.Hosts {
		signer, err := ssh.NewSignerFromKey(h.Key)
		if err != nil {
			return fmt.Errorf("%s: host key: %w", h.Name, err)
		}
		hosts[h.Addr] = &remotetest.Host{
			HostKeys:       []ssh.Signer{signer},
			Users:          []string{"root"},
			AuthorizedKeys: []ssh.PublicKey{client},
			Handler:        remotetest.Shell(f.shell(h)),
			Fault:          remotetest.Fault{HangAfterAccept: h.Condition == silent},
		}
	}
	listener, err := net.FileListener(os.NewFile(listenerFD, "listener"))
	if err != nil {
		return fmt.Errorf("listener: %w", err)
	}
	cfg := remotetest.Config{Listen: listener, HostFor: func(local netip.Addr) (*remotetest.Host, error) {
		if h := hosts[local]; h != nil {
			return h, nil
		}
		return nil, errors.New("no host at " + local.String())
	}}
	if f.Verbose {
		cfg.Logf = func(format string, args ...any) {
			fmt.Fprintf(os.Stderr, "fleetsim: "+format+"\n", args...)
		}
	}
	_, err = remotetest.Start(cfg)
	return err
}

// shell says how a host runs commands.
func (f *fleet) shell(h host) remotetest.ShellConfig {
	const path = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
	if f.Isolate {
		return remotetest.ShellConfig{
			Dir:   "/root",
			Env:   []string{"PATH=" + path, "HOME=/root", "SHELL=/bin/sh"},
			Start: func(cmd *exec.Cmd) error { return startInHost(h.Name, cmd) },
		}
	}
	root := filepath.Join(f.Dir, "hosts", h.Name)
	home := filepath.Join(root, "root")
	return remotetest.ShellConfig{
		Dir: home,
		Env: []string{
			"PATH=" + filepath.Join(root, "usr/local/bin") + ":" + filepath.Join(f.Dir, "hosts/.shims") + ":" + path,
			"HOME=" + home, "SHELL=/bin/sh",
			"TMPDIR=" + filepath.Join(root, "tmp"), "FLEETSIM_ROOT=" + root,
		},
	}
}
