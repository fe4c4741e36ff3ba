package main

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"fleetctl/enroll/enrolltest"
)

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){
		"fleetctl": func() {
			helpers := helperFiles()
			if dir := os.Getenv(envHelpers); dir != "" {
				helpers = os.DirFS(dir)
			}
			os.Exit(realMain(helpers))
		},
		"tctl": tctlMain,
	})
}

// TestScripts runs the real main, one script a behaviour that users see. Beside what testscript has, scripts have these
// commands:
//
//	exit CODE COMMAND ARGS…     runs a command and wants that very exit code
//	fleet GROUP=N… [OPTION…]    starts a fleet and a cluster; see fleetCommand
//	host NAME WHAT ARGS…        changes a host, or shows something of it; see hostCommand
//	cluster WHAT ARGS…          the same for the cluster; see clusterCommand
//	interrupt, ended CODE       Ctrl-C for a command in the background, and how it ended
func TestScripts(t *testing.T) {
	t.Parallel()
	testscript.RunT(scriptT{t}, testscript.Params{
		Dir:                 "testdata/script",
		RequireExplicitExec: true,
		Setup: func(e *testscript.Env) error {
			e.Values[testKey{}] = e.T().(scriptT).T
			examples, err := filepath.Abs("../../examples")
			e.Setenv("EXAMPLES", examples)
			e.Setenv("LANG", "C.UTF-8")
			return err
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"exit": exitCommand, "fleet": fleetCommand, "host": hostCommand, "cluster": clusterCommand,
			"interrupt": interruptCommand, "ended": endedCommand,
		},
	})
}

// scriptT is a *testing.T as testscript wants it, from which scripts' commands get it back.
type scriptT struct{ *testing.T }

func (t scriptT) Run(name string, f func(testscript.T)) {
	t.T.Run(name, func(t *testing.T) { f(scriptT{t}) })
}

func (t scriptT) Verbose() bool { return testing.Verbose() }

// testKey is what a script's *testing.T is kept under.
type testKey struct{}

// What scripts have, by *testing.T.
var (
	worlds      sync.Map // *world
	interrupted sync.Map // *exec.Cmd
)

// exitCommand is "exit CODE COMMAND ARGS…".
func exitCommand(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: exit CODE COMMAND ARGS…")
	}
	code := "0"
	if err := ts.Exec(args[1], args[2:]...); err != nil {
		code = exitText(err)
	}
	if code != args[0] {
		ts.Fatalf("exit code %s, want %s", code, args[0])
	}
}

func exitText(err error) string {
	if e := (*exec.ExitError)(nil); errors.As(err, &e) {
		return strconv.Itoa(e.ExitCode())
	}
	return err.Error()
}

// fleetCommand is "fleet GROUP=N… [OPTION…]": it starts hosts web-01, web-02, … a group and a cluster in the test's
// memory, and writes fleet.yaml, inventory.yaml, known_hosts, id_fleet and ca.pem where the script has none of its own.
// tctl reaches the cluster.
func fleetCommand(ts *testscript.TestScript, neg bool, args []string) {
	var opts worldOptions
	set := flag.NewFlagSet("fleet", flag.ContinueOnError)
	set.StringVar(&opts.tbot, "tbot", "", "the version on the hosts, or none")
	set.StringVar(&opts.teleport, "teleport", "", "the cluster's version")
	set.StringVar(&opts.sudoPassword, "sudo-password", "", "what sudo asks for")
	set.BoolVar(&opts.certs, "certs", false, "the TPMs have EK certificates of ca.pem")
	set.BoolVar(&opts.oss, "oss", false, "the cluster has no licence")
	set.BoolVar(&opts.mfa, "mfa", false, "the cluster wants a second factor")
	for len(args) > 0 && !strings.HasPrefix(args[0], "-") {
		opts.groups, args = append(opts.groups, args[0]), args[1:]
	}
	if err := set.Parse(args); err != nil || neg || len(opts.groups) == 0 || set.NArg() > 0 {
		ts.Fatalf("usage: fleet GROUP=N… [OPTION…]: %v", err)
	}
	t := ts.Value(testKey{}).(*testing.T)
	w := newWorld(t, ts.Getenv("WORK"), opts)
	worlds.Store(t, w)
	ts.Setenv(envTctlSocket, serveTctl(t, w.cluster))
	ts.Setenv(envHelpers, w.helpersDir())
}

// worldOf is what "fleet" started.
func worldOf(ts *testscript.TestScript) *world {
	w, ok := worlds.Load(ts.Value(testKey{}))
	if !ok {
		ts.Fatalf("there is no fleet: say \"fleet\" first")
	}
	return w.(*world)
}

// hostCommand is "host NAME WHAT ARGS…".
func hostCommand(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: host NAME WHAT ARGS…")
	}
	w := worldOf(ts)
	h := w.hosts[args[0]]
	if h == nil {
		ts.Fatalf("no host %s: there are %v", args[0], w.hostNames())
	}
	rest := args[2:]
	need := func(n int) {
		if len(rest) != n {
			ts.Fatalf("host %s %s takes %d arguments", args[0], args[1], n)
		}
	}
	change := func(f func(*enrolltest.State)) { need(0); h.With(f) }
	switch args[1] {
	case "down", "up": // every connection is closed at once
		change(func(s *enrolltest.State) { s.Down = args[1] == "down" })
	case "no-sudo": // sudoers has no rule for admin
		change(func(s *enrolltest.State) { s.Sudo.Denied = true })
	case "no-tpm": // the kernel knows none
		change(func(s *enrolltest.State) { s.Sysfs = false; delete(s.Files, s.Device) })
	case "no-exec": // no directory may execute
		change(func(s *enrolltest.State) { s.NoExec = true })
	case "no-systemd":
		change(func(s *enrolltest.State) { s.Systemd = 0; delete(s.Files, "/run/systemd/system") })
	case "stop": // somebody stops tbot
		change(func(s *enrolltest.State) { s.Service.State = "inactive" })
	case "hold": // WHAT: it waits before it answers that ("any", or probe, facts, verify, …)
		need(1)
		w.hold(args[0], rest[0])
	case "asked": // waits until a host that waits was asked
		need(0)
		waitAsked(ts)
	case "release":
		need(0)
		w.release(args[0])
	case "clock":
		need(1)
		d, err := time.ParseDuration(rest[0])
		ts.Check(err)
		h.With(func(s *enrolltest.State) { s.Clock = d })
	case "ek": // another TPM, whose EK has that number
		need(1)
		n, err := strconv.Atoi(rest[0])
		ts.Check(err)
		ts.Check(w.newEK(args[0], n))
	case "hash":
		need(0)
		fmt.Fprintln(ts.Stdout(), h.TPM.EKHash())
	case "tree":
		need(0)
		fmt.Fprint(ts.Stdout(), h.Tree())
	case "cat":
		need(1)
		h.With(func(s *enrolltest.State) {
			if f := s.Files[rest[0]]; f != nil {
				fmt.Fprintf(ts.Stdout(), "%s", f.Content)
				return
			}
			ts.Fatalf("%s has no file %s", args[0], rest[0])
		})
	case "write": // PATH FILE: somebody else writes a file there
		need(2)
		content := ts.ReadFile(rest[1])
		h.With(func(s *enrolltest.State) {
			s.Files[rest[0]] = &enrolltest.File{Kind: enrolltest.Regular, Mode: 0o644, Owner: "root", Group: "root", Content: []byte(content)}
		})
	default:
		ts.Fatalf("host: unknown %q", args[1])
	}
}

func waitAsked(ts *testscript.TestScript) {
	select {
	case <-worldOf(ts).asked:
	case <-time.After(30 * time.Second):
		ts.Fatalf("no host that waits was asked")
	}
}

// interruptCommand is "interrupt": once a host that waits was asked, it does to the newest background command what Ctrl-C
// does.
func interruptCommand(ts *testscript.TestScript, neg bool, args []string) {
	running := ts.BackgroundCmds()
	if neg || len(args) > 0 || len(running) == 0 {
		ts.Fatalf("usage: interrupt, with a command in the background")
	}
	waitAsked(ts)
	c := running[len(running)-1]
	ts.Check(c.Process.Signal(os.Interrupt))
	interrupted.Store(ts.Value(testKey{}), c)
}

// endedCommand is "ended CODE": the exit code of the command that was interrupted, after "wait".
func endedCommand(ts *testscript.TestScript, neg bool, args []string) {
	c, ok := interrupted.Load(ts.Value(testKey{}))
	if neg || !ok || len(args) != 1 {
		ts.Fatalf("usage: ended CODE, after interrupt and wait")
	}
	if got := strconv.Itoa(c.(*exec.Cmd).ProcessState.ExitCode()); got != args[0] {
		ts.Fatalf("exit code %s, want %s", got, args[0])
	}
}

// clusterCommand is "cluster WHAT ARGS…".
func clusterCommand(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) == 0 {
		ts.Fatalf("usage: cluster WHAT ARGS…")
	}
	w := worldOf(ts)
	switch what := args[0]; {
	case what == "tokens" && len(args) > 1: // NAME…: the hosts that tokens let in, a line a rule
		fmt.Fprint(ts.Stdout(), w.tokens(args[1:]...))
	case what == "fail" && len(args) == 3: // VERB TEXT: the next tctl of that verb fails
		w.failOnce(args[1], args[2])
	case what == "put" && len(args) == 2: // FILE: another administrator creates what is in it
		ts.Check(w.cluster.Put(ts.ReadFile(args[1])))
	case what == "delete" && len(args) == 2: // NAME: the same for deleting
		if !w.cluster.Delete(args[1]) {
			ts.Fatalf("the cluster has no %s", args[1])
		}
	case what == "joins" && len(args) == 2: // HOST: how often its TPM joined
		fmt.Fprintln(ts.Stdout(), w.cluster.Joins(w.hosts[args[1]].TPM.EKHash()))
	case what == "commands" && len(args) == 1: // what tctl was asked so far
		for _, c := range w.cluster.Commands() {
			fmt.Fprintln(ts.Stdout(), strings.Join(c.Args, " "))
		}
	default:
		ts.Fatalf("cluster: unknown %q", args)
	}
}
