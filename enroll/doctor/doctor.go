// Package doctor looks whether everything is there that a fleet needs: on this machine, in the cluster, in the records. It changes
// nothing, connects to no host, and asks nobody.
package doctor

import (
	"context"
	"io/fs"
	"sync"
	"time"

	"fleetctl/enroll/config"
	"fleetctl/enroll/proxy"
	"fleetctl/enroll/tctl"
	"fleetctl/enroll/versions"
	"fleetctl/inventory"
)

// State is how a check came out.
type State string

// States.
const (
	OK      State = "ok"
	Warning State = "warning" // it works, and somebody should look at it
	Error   State = "error"   // enrolling doesn't work before somebody did something
	Skipped State = "skipped" // there is nothing to look at
)

// Check is one thing that was looked at.
type Check struct {
	Check   string `json:"check"`
	State   State  `json:"state"`
	Message string `json:"message"`        // for people; free of control characters
	Hint    string `json:"hint,omitempty"` // what to do, without a full stop
}

// Options are what is looked at. What could not be had comes with the error that says why.
type Options struct {
	Config       config.Config
	ConfigErr    error // nil: fleet.yaml is read, and as it should be
	Hosts        []inventory.Host
	InventoryErr error

	Tctl    *tctl.Tctl
	TctlErr error
	Ask     func(ctx context.Context, addr string) (proxy.Answer, error)

	Agent func(ctx context.Context) (keys int, err error)
	Knows func(ctx context.Context, h inventory.Host) (bool, error) // whether known_hosts knows a host

	Forks, Allowed int   // hosts at once: as many as are wanted, as many as open files are enough for
	Helpers        fs.FS // identify-linux-ARCH.gz
	Records        string

	Now   func() time.Time
	Limit time.Duration // of each check; 0: defaultLimit
}

// defaultLimit is how long a check may take.
const defaultLimit = 30 * time.Second

// facts are what several checks judge.
type facts struct {
	Options

	answer   proxy.Answer
	proxyErr error
	took     time.Duration // the proxy's answer, from the question on
	here     time.Time     // our clock when it came

	cluster tctl.Cluster
	version versions.Version // of the cluster, as tctl tells it, else the proxy
	ctlErr  error            // why tctl tells nothing
}

// check is one thing to look at, within its limit of time.
type check struct {
	name string
	look func(f *facts, ctx context.Context) Check
}

// checks in the order in which people want to hear of them: what the others rest on comes first.
var checks = [...]check{
	{"fleet.yaml", (*facts).fleetFile},
	{"inventory", (*facts).inventory},
	{"tctl", (*facts).tctl},
	{"read tokens", (*facts).readTokens},
	{"read bots", (*facts).readBot},
	{"read bot instances", (*facts).readInstances},
	{"proxy", (*facts).proxy},
	{"version", (*facts).clusterVersion},
	{"edition", (*facts).edition},
	{"fips", (*facts).fips},
	{"clock", (*facts).clock},
	{"ssh-agent", (*facts).agent},
	{"known_hosts", (*facts).knownHosts},
	{"open files", (*facts).openFiles},
	{"helpers", (*facts).helpers},
	{"records", (*facts).records},
}

// Examine looks at everything, all at once, and returns the checks in their order. The error is that of ctx.
func Examine(ctx context.Context, opts Options) ([]Check, error) {
	f := &facts{Options: opts}
	if f.Limit == 0 {
		f.Limit = defaultLimit
	}
	f.gather(ctx)
	results := make([]Check, len(checks))
	var wg sync.WaitGroup
	for i, c := range checks {
		wg.Go(func() {
			limited, cancel := context.WithTimeout(ctx, f.Limit)
			defer cancel()
			results[i] = c.look(f, limited)
			results[i].Check = c.name
		})
	}
	wg.Wait()
	return results, context.Cause(ctx)
}

// gather asks the proxy and tctl, once.
func (f *facts) gather(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, f.Limit)
	defer cancel()
	var wg sync.WaitGroup
	if f.Config.Cluster.ProxyServer != "" {
		wg.Go(func() {
			start := time.Now()
			f.answer, f.proxyErr = f.Ask(ctx, f.Config.Cluster.ProxyServer)
			f.took, f.here = time.Since(start), f.Now()
		})
	}
	var told versions.Version
	if f.ctlErr = f.TctlErr; f.Tctl != nil {
		wg.Go(func() { f.cluster, told, f.ctlErr = f.Tctl.Status(ctx) })
	}
	wg.Wait()
	if f.version = told; told.IsZero() {
		f.version = f.answer.Version
	}
}

// Count is how many checks came out so.
func Count(checks []Check, state State) (n int) {
	for _, c := range checks {
		if c.State == state {
			n++
		}
	}
	return n
}
