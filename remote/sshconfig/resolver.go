package sshconfig

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"os/exec"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"

	"fleetctl/remote/fault"
	"fleetctl/remote/text"
)

// Query is what a host's configuration may depend on.
type Query struct {
	Host string
	Port int // 0: the configuration's
	User string
	Args sshArgs
}

// Resolver looks hosts up in the OpenSSH configuration. Where ssh is installed it asks ssh -G, once for all hosts whose
// answer cannot differ (see classify); else it reads the files itself.
type Resolver struct {
	ssh   string // path of ssh; "" where there is none
	limit chan struct{}

	defaultsOnce sync.Once
	defaultValue Values

	mu      sync.Mutex
	parsed  map[string]*sshConfig // by -F
	answers map[string]*answer    // by class, or by host where every host may differ
	asked   int                   // processes started
}

// answer is what ssh -G said, once it is there.
type answer struct {
	once   sync.Once
	host   string // the one that was asked for
	values Values
	err    error
}

// NewResolver makes a Resolver that asks this ssh: "" finds it in PATH, "none" does without.
func NewResolver(ssh string) *Resolver {
	r := &Resolver{
		limit: make(chan struct{}, max(2, runtime.NumCPU())), parsed: map[string]*sshConfig{}, answers: map[string]*answer{},
	}
	switch ssh {
	case "none":
	case "":
		r.ssh, _ = exec.LookPath("ssh")
	default:
		r.ssh = ssh
	}
	return r
}

// Defaults are OpenSSH's own, without any configuration.
func (r *Resolver) Defaults() Values {
	r.defaultsOnce.Do(func() {
		r.defaultValue = builtinDefaults()
		if r.ssh == "" {
			return
		}
		if v, err := r.run(context.Background(), []string{"-F", "none", "--", "localhost"}); err == nil {
			r.defaultValue = v
		}
	})
	return r.defaultValue
}

// Lookup returns the configuration of a host.
func (r *Resolver) Lookup(ctx context.Context, q Query) (Values, error) {
	cfg, err := r.config(q.Args.Config)
	if err != nil {
		return nil, &fault.Error{Kind: fault.ErrConfig, Err: err}
	}
	if r.ssh == "" {
		v, err := cfg.fallback(q)
		if err != nil {
			return nil, &fault.Error{Kind: fault.ErrConfig, Err: err, Hint: "install the OpenSSH client, which understands it all"}
		}
		return v, nil
	}
	class := cfg.classify(q)
	if class.perHost {
		return r.askAlone(ctx, q, class)
	}
	q.Port = 0 // nothing depends on it
	v, err := r.ask(ctx, q, class.key)
	if err != nil {
		return nil, err
	}
	if v.First("hostname") == class.hostname(q.Host) {
		return v, nil
	}
	asked := r.askedHost(class.key)
	if v.First("hostname") != class.hostname(asked) { // our reading of HostName is not ssh's: trust only ssh
		return r.askAlone(ctx, q, class)
	}
	v = maps.Clone(v)
	v["hostname"] = []string{class.hostname(q.Host)}
	return v, nil
}

// askAlone asks for one host.
func (r *Resolver) askAlone(ctx context.Context, q Query, c class) (Values, error) {
	return r.ask(ctx, q, fmt.Sprintf("%s\x00%s\x00%d", c.key, q.Host, q.Port))
}

// Asks says whether ssh -G is asked. It replaces the tokens in IdentityAgent and UserKnownHostsFile.
func (r *Resolver) Asks() bool { return r.ssh != "" }

// Where says which line of the configuration (the file of -F, or "") gives an option a value that Lookup has returned, as
// file:line. Where several do, for other hosts, it is the first; one that comes from elsewhere (-o) is named by the option.
func (r *Resolver) Where(config, option, value string) string {
	cfg, err := r.config(config)
	if err != nil {
		return option
	}
	for _, f := range cfg.files {
		if place := f.where(strings.ToLower(option), value); place != "" {
			return place + ", " + option
		}
	}
	return option
}

func (r *Resolver) config(path string) (*sshConfig, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if c, ok := r.parsed[path]; ok {
		return c, nil
	}
	c, err := readSSHConfig(path)
	if err != nil {
		return nil, err
	}
	r.parsed[path] = c
	return c, nil
}

func (r *Resolver) askedHost(key string) string {
	r.mu.Lock()
	defer r.mu.Unlock()
	if a := r.answers[key]; a != nil {
		return a.host
	}
	return ""
}

// ask runs ssh -G unless the answer for key is there.
func (r *Resolver) ask(ctx context.Context, q Query, key string) (Values, error) {
	r.mu.Lock()
	a := r.answers[key]
	if a == nil {
		a = &answer{host: q.Host}
		r.answers[key] = a
	}
	r.mu.Unlock()
	a.once.Do(func() {
		var argv []string
		if q.Args.Config != "" {
			argv = append(argv, "-F", q.Args.Config)
		}
		if q.User != "" {
			argv = append(argv, "-l", q.User)
		}
		if q.Port != 0 {
			argv = append(argv, "-p", strconv.Itoa(q.Port))
		}
		argv = append(argv, q.Args.argv...)
		a.values, a.err = r.run(ctx, append(argv, "--", a.host))
	})
	switch {
	case fault.Short(a.err):
		r.forget(key, a)
	case errors.Is(a.err, context.Canceled): // somebody else's cancellation is not our answer
		r.forget(key, a)
		if ctx.Err() == nil {
			return r.ask(ctx, q, key)
		}
	}
	return a.values, a.err
}

func (r *Resolver) forget(key string, a *answer) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.answers[key] == a {
		delete(r.answers, key)
	}
}

func (r *Resolver) run(ctx context.Context, argv []string) (Values, error) {
	select {
	case r.limit <- struct{}{}:
		defer func() { <-r.limit }()
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	r.mu.Lock()
	r.asked++
	r.mu.Unlock()
	var out, errOut bytes.Buffer
	cmd := exec.CommandContext(ctx, r.ssh, append([]string{"-G"}, argv...)...)
	cmd.Stdout, cmd.Stderr = &out, &errOut
	if err := runGroup(cmd); err != nil { // Match exec starts what it likes
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		return nil, &fault.Error{Kind: fault.ErrConfig, Err: fmt.Errorf("ssh -G: %w: %s", err, text.Line(errOut.String()))}
	}
	return parseValues(out.String()), nil
}

// parseValues reads what ssh -G prints: a key, a space and a value a line.
func parseValues(out string) Values {
	v := Values{}
	for line := range strings.Lines(out) {
		key, value, ok := strings.Cut(strings.TrimRight(line, "\r\n"), " ")
		if key = strings.ToLower(key); ok && (value != "" || slices.Contains(algorithmKeys, key)) {
			v[key] = append(v[key], value)
		}
	}
	return v
}
