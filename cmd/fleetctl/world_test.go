package main

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"

	"fleetctl/enroll/enrolltest"
	"fleetctl/enroll/enrolltest/memcluster"
	"fleetctl/enroll/enrolltest/softtpm"
	"fleetctl/enroll/tctl"
	"fleetctl/remote"
	"fleetctl/remote/remotetest"
)

// world is what a user has, in one process: hosts behind a real SSH server, a cluster, and a directory with the inventory,
// the login key, known_hosts and fleet.yaml.
type world struct {
	t       testing.TB
	dir     string
	fleet   *remotetest.Fleet
	hosts   map[string]*enrolltest.Host
	cluster *memcluster.Cluster
	ca      *softtpm.CA

	mu    sync.Mutex
	held  map[string]held   // by host
	fails map[string]string // verb of tctl → what it fails with, once
	asked chan string       // a host that waits was asked
}

// worldOptions say what is not as in the usual fleet.
type worldOptions struct {
	groups []string // "web=3": the group and how many hosts are in it
	tbot   string   // on the hosts; "none" for none
	teleport,
	sudoPassword string
	certs bool // the TPMs have certificates, of a CA whose file is ca.pem
	oss   bool
	mfa   bool
}

// newWorld starts hosts and a cluster, and writes the files that dir does not have.
func newWorld(t testing.TB, dir string, opts worldOptions) *world {
	t.Helper()
	w := &world{
		t: t, dir: dir, fleet: remotetest.StartFleet(t), hosts: map[string]*enrolltest.Host{},
		cluster: memcluster.NewCluster(t, cmp.Or(opts.teleport, "18.4.0")),
		held:    map[string]held{}, fails: map[string]string{}, asked: make(chan string, 1000),
	}
	t.Cleanup(func() { w.release("") }) // before the server's end, which waits for them
	w.cluster.OSS, w.cluster.MFA = opts.oss, opts.mfa
	w.cluster.Before = w.beforeTctl
	var err error
	if w.ca, err = softtpm.NewCA("Maker"); err != nil {
		t.Fatal(err)
	}
	inventory := w.addHosts(opts)
	key, err := os.ReadFile(w.fleet.KeyFile())
	if err != nil {
		t.Fatal(err)
	}
	known, err := os.ReadFile(w.fleet.KnownHosts())
	if err != nil {
		t.Fatal(err)
	}
	w.write("id_fleet", key)
	w.write("known_hosts", known)
	w.write("ca.pem", w.ca.PEM())
	w.write("inventory.yaml", []byte(inventory))
	w.write("fleet.yaml", []byte(worldConfig))
	w.writeHelpers()
	return w
}

const worldConfig = `version: v1
inventory: inventory.yaml
cluster: {proxy_server: "teleport.example.com:443"}
bot: {name: fleet, roles: [access]}
`

// write writes a file that is not there yet.
func (w *world) write(name string, content []byte) {
	w.t.Helper()
	name = filepath.Join(w.dir, name)
	if _, err := os.Lstat(name); err == nil {
		return
	}
	if err := os.WriteFile(name, content, 0o600); err != nil {
		w.t.Fatal(err)
	}
}

// helpersDir is where the helpers are, for commands that run in a process of their own.
func (w *world) helpersDir() string { return filepath.Join(w.dir, ".helpers") }

// environment is that of a fleetctl in a process of its own.
func (w *world) environment(t *testing.T) []string {
	t.Helper()
	return append(os.Environ(), "SSH_AUTH_SOCK=", envTctlSocket+"="+serveTctl(t, w.cluster), envHelpers+"="+w.helpersDir())
}

func (w *world) writeHelpers() {
	w.t.Helper()
	files, err := enrolltest.Helpers("amd64", "arm64")
	if err == nil {
		err = os.CopyFS(w.helpersDir(), files)
	}
	if err != nil {
		w.t.Fatal(err)
	}
}

// addHosts starts the hosts of all groups and returns their inventory.
func (w *world) addHosts(opts worldOptions) string {
	w.t.Helper()
	args := strings.Join(remotetest.Isolated(filepath.Join(w.dir, "known_hosts")), " ")
	out := fmt.Sprintf("all:\n  vars:\n    ansible_user: admin\n    ansible_ssh_private_key_file: %s\n"+
		"    ansible_ssh_common_args: %s\n  children:\n", filepath.Join(w.dir, "id_fleet"), args)
	for _, g := range opts.groups {
		name, count, _ := strings.Cut(g, "=")
		n, err := strconv.Atoi(count)
		if err != nil || n < 1 || name == "" {
			w.t.Fatalf("%q is no group with a number of hosts, like web=3", g)
		}
		out += "    " + name + ":\n      hosts:\n"
		for i := range n {
			target := w.addHost(fmt.Sprintf("%s-%02d", name, i+1), opts)
			out += fmt.Sprintf("        %s: {ansible_host: %s, ansible_port: %d}\n", target.Name, target.Host, target.Port)
		}
	}
	return out
}

func (w *world) addHost(name string, opts worldOptions) remote.Target {
	w.t.Helper()
	version := cmp.Or(opts.tbot, "18.4.0")
	if version == "none" {
		version = ""
	}
	h := enrolltest.NewHost(w.t, name, version)
	tpm, err := softtpm.NewTPM(len(w.hosts) + 1)
	if err != nil {
		w.t.Fatal(err)
	}
	if opts.certs {
		if err := w.ca.Certify(tpm); err != nil {
			w.t.Fatal(err)
		}
	}
	h.TPM, h.Cluster, h.Before = tpm, w.cluster, w.beforeHost
	h.With(func(s *enrolltest.State) { s.Sudo.Password = opts.sudoPassword })
	w.hosts[name] = h
	return h.Attach(w.fleet)
}

// held is a host that waits.
type held struct {
	what string        // of which events; "any" for all
	done chan struct{} // closed: it goes on
}

// beforeHost lets hosts wait that should.
func (w *world) beforeHost(e enrolltest.Event) error {
	w.mu.Lock()
	h, ok := w.held[e.Host]
	w.mu.Unlock()
	if ok && (h.what == "any" || h.what == e.What) {
		w.asked <- e.Host
		<-h.done
	}
	return nil
}

// hold lets a host wait before it answers what an enrolltest.Event calls so ("any" for everything), until release.
func (w *world) hold(host, what string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.held[host] = held{what, make(chan struct{})}
}

// release lets a host go on; "" all of them.
func (w *world) release(host string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for name, h := range w.held {
		if host == "" || host == name {
			close(h.done)
			delete(w.held, name)
		}
	}
}

// failOnce lets the next tctl of that verb fail.
func (w *world) failOnce(verb, text string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.fails[verb] = text
}

func (w *world) beforeTctl(c memcluster.Command) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	text, ok := w.fails[c.Verb]
	if !ok {
		return nil
	}
	delete(w.fails, c.Verb)
	return errors.New(text)
}

// newEK gives a host the TPM with another EK.
func (w *world) newEK(host string, number int) error {
	tpm, err := softtpm.NewTPM(number)
	if err == nil {
		h := w.hosts[host]
		h.With(func(*enrolltest.State) { h.TPM = tpm })
	}
	return err
}

// tokens are the cluster's tokens with the hosts that they let in, a line a rule.
func (w *world) tokens(names ...string) string {
	owner := map[string]string{}
	for name, h := range w.hosts {
		owner[h.TPM.EKHash()] = name
	}
	var b strings.Builder
	for _, name := range names {
		for _, hash := range w.cluster.Rules(name) {
			fmt.Fprintf(&b, "%s: %s\n", name, cmp.Or(owner[hash], hash))
		}
	}
	return b.String()
}

// said is what one command line did.
type said struct {
	code           int
	stdout, stderr string
}

// inProcess is the command line in this very process, which the fleet's files are added to.
func (w *world) inProcess(args ...string) said {
	w.t.Helper()
	return w.inProcessWith(context.Background(), nil, args...)
}

// inProcessWith is inProcess with a context, and with what to change in the app.
func (w *world) inProcessWith(ctx context.Context, change func(*app), args ...string) said {
	w.t.Helper()
	args = append([]string{"fleetctl", "-f", filepath.Join(w.dir, "fleet.yaml"), "--db", filepath.Join(w.dir, "fleet.db")}, args...)
	return runApp(ctx, func(a *app) {
		a.helpers, a.tctl = os.DirFS(w.helpersDir()), tctl.Func(w.cluster.Run)
		if change != nil {
			change(a)
		}
	}, args...)
}

// out is the directory that tokens go to.
func (w *world) out() string { return filepath.Join(w.dir, "out") }

// oneApp lets one command line run at a time: those of urfave/cli share its flag --help, which parsing writes to.
var oneApp sync.Mutex

// runApp runs one command line, program name included.
func runApp(ctx context.Context, change func(*app), args ...string) said {
	var stdout bytes.Buffer
	var stderr lockedBuffer
	a := &app{
		stdin: strings.NewReader(""), stdout: &stdout, stderr: &stderr, helpers: noFiles{},
	}
	if change != nil {
		change(a)
	}
	oneApp.Lock()
	defer oneApp.Unlock()
	code := a.run(ctx, args)
	return said{code, stdout.String(), stderr.String()}
}

// lockedBuffer is a buffer that several goroutines may write to, as they may to a file: connections say on stderr what
// they do.
type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// noFiles are the helpers of a plain checkout.
type noFiles struct{}

func (noFiles) Open(name string) (fs.File, error) {
	return nil, &fs.PathError{Op: "open", Path: name, Err: fs.ErrNotExist}
}

// hostNames are in order.
func (w *world) hostNames() []string { return slices.Sorted(maps.Keys(w.hosts)) }
