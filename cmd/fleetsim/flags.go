//go:build linux

package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"os/exec"
	"strconv"
	"strings"
)

const usage = `usage: fleetsim [flags] [-- COMMAND ARGS...]

Starts a simulated fleet on loopback and writes into DIR what a controller needs to work with it: inventory.yaml,
known_hosts, id_ed25519, tpm-cas.pem and fleet.yaml. With COMMAND it runs that in DIR, stops the fleet and exits with
its exit code; without, it runs until SIGINT or SIGTERM. Nothing that it started survives it.

What is real: the SSH protocol, the commands (sh, and the programs of this machine's /usr), the files they write, and
the TPMs (swtpm, one a host). What is simulated:
  - A host is a mount namespace with its own /etc, /var, /home, /root, /run, /tmp, /opt and /usr/local in
    DIR/hosts/NAME; /usr is this machine's, read-only. Logins are as root of a user namespace, who has no power over
    this machine. Run by an ordinary user it has no other user than root: chown to anyone else fails.
  - sudo, systemctl, journalctl, udevadm and tbot are scripts: units are recorded as started and nothing is started,
    and whoever asks the journal of a started unit is told that it joined.
  - Where user namespaces are not allowed (see -isolate) there are no own files: commands run as an ordinary user,
    who passes for root after sudo, and see this machine's /etc.

flags:
`

// options is the command line, checked.
type options struct {
	n       int
	dir     string // "": a temporary one, removed at the end
	swtpm   string // path; "" means hosts without TPMs
	isolate string // auto, yes or no
	mix     map[condition]int
	verbose bool
	demo    bool
	command []string
}

func parseFlags(args []string, stderr io.Writer) (options, error) {
	var o options
	var mix string
	fs := flag.NewFlagSet("fleetsim", flag.ContinueOnError)
	fs.SetOutput(stderr)
	fs.Usage = func() {
		fmt.Fprint(stderr, usage)
		fs.PrintDefaults()
	}
	fs.IntVar(&o.n, "n", 20, "`number` of hosts, at most 50000")
	fs.StringVar(&o.dir, "dir", "", "`directory` to work in, made if need be; what an earlier fleetsim wrote there\n"+
		"is replaced (default: a temporary one, removed at the end)")
	fs.StringVar(&o.swtpm, "swtpm", "swtpm", "the swtpm `program`; \"off\" for hosts without TPMs")
	fs.StringVar(&o.isolate, "isolate", "auto", "own file system for each host: yes, no, or `auto` for where it is allowed")
	fs.StringVar(&mix, "mix", "auto", "hosts that are not healthy with an EK certificate, e.g. `down=2,no-ekcert=5`; of\n"+
		strings.Join(conditionNames(), ", ")+
		".\nauto is no-ekcert for every fifth and one each of down, changed-key and cloned, from 10 hosts on")
	fs.BoolVar(&o.demo, "demo", false, "show what fleetctl does, on a fleet that goes away afterwards")
	fs.BoolVar(&o.verbose, "v", false, "log connections")
	if err := fs.Parse(args); err != nil {
		return o, err
	}
	o.command = fs.Args()
	return o, o.check(mix)
}

func (o *options) check(mix string) (err error) {
	if o.n < 1 || o.n > maxHosts {
		return fmt.Errorf("-n %d: must be 1 to %d", o.n, maxHosts)
	}
	if o.demo && len(o.command) > 0 {
		return errors.New("-demo takes no command")
	}
	if o.isolate != "auto" && o.isolate != "yes" && o.isolate != "no" {
		return fmt.Errorf("-isolate %q: must be auto, yes or no", o.isolate)
	}
	if o.mix, err = parseMix(mix, o.n); err != nil {
		return fmt.Errorf("-mix: %w", err)
	}
	if o.swtpm == "off" {
		o.swtpm = ""
		return nil
	}
	if o.swtpm, err = exec.LookPath(o.swtpm); err != nil {
		return fmt.Errorf("-swtpm: %w\n  install it (Debian: apt-get install swtpm), or use -swtpm=off", err)
	}
	return nil
}

// parseMix reads "condition=count,…" and checks that it fits into n hosts.
func parseMix(s string, n int) (map[condition]int, error) {
	if s == "auto" {
		return defaultMix(n), nil
	}
	mix := map[condition]int{}
	total := 0
	for _, part := range strings.FieldsFunc(s, func(r rune) bool { return r == ',' }) {
		name, count, _ := strings.Cut(part, "=")
		k, err := strconv.Atoi(count)
		if err != nil || k < 0 || !isCondition(name) {
			return nil, fmt.Errorf("%q: want CONDITION=COUNT with one of %s", part, strings.Join(conditionNames(), ", "))
		}
		mix[condition(name)] += k
		total += k
	}
	if mix[cloned] > 0 && total == n {
		return nil, fmt.Errorf("%q: a clone needs a healthy host to be cloned from", s)
	}
	if total > n {
		return nil, fmt.Errorf("%q: %d of %d hosts", s, total, n)
	}
	return mix, nil
}

func defaultMix(n int) map[condition]int {
	if n < 10 {
		return map[condition]int{}
	}
	return map[condition]int{noEKCert: n / 5, down: 1, changedKey: 1, cloned: 1}
}
