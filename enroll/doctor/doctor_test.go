package doctor

import (
	"context"
	"errors"
	"path/filepath"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"fleetctl/enroll/config"
	"fleetctl/enroll/enrolltest/memcluster"
	"fleetctl/enroll/outcome"
	"fleetctl/enroll/proxy"
	"fleetctl/enroll/store"
	"fleetctl/enroll/tctl"
	"fleetctl/enroll/versions"
	"fleetctl/inventory"
	"fleetctl/remote"
)

// now is what all clocks show.
var now = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)

func version(t *testing.T, text string) versions.Version {
	t.Helper()
	v, ok := versions.Parse(text)
	if !ok {
		t.Fatalf("%q is no version", text)
	}
	return v
}

// healthy is a controller and a cluster with everything that is needed.
func healthy(t *testing.T, clusterVersion string) Options {
	t.Helper()
	cfg, err := config.New(
		config.Override{Key: config.KeyProxy, Values: []string{"teleport.example.com:443"}},
		config.Override{Key: config.KeyBot, Values: []string{"fleet"}}, config.Override{Key: config.KeyRoles, Values: []string{"access"}})
	if err != nil {
		t.Fatal(err)
	}
	inv, err := inventory.Load(t.Context(), []string{"web-01,web-02"}, inventory.Options{})
	if err != nil {
		t.Fatal(err)
	}
	hosts, err := inv.Select("all")
	if err != nil {
		t.Fatal(err)
	}
	db := filepath.Join(t.TempDir(), "fleet.db")
	st, err := store.Open(t.Context(), db)
	if err != nil {
		t.Fatal(err)
	}
	if err := st.Close(); err != nil {
		t.Fatal(err)
	}
	c := memcluster.NewCluster(t, clusterVersion)
	return Options{
		Config: cfg, Hosts: hosts, Tctl: &tctl.Tctl{Runner: tctl.Func(c.Run)},
		Ask: func(context.Context, string) (proxy.Answer, error) {
			return proxy.Answer{Time: now, Version: version(t, clusterVersion), Cluster: "example.com", Edition: proxy.EditionEnterprise}, nil
		},
		Agent: func(context.Context) (int, error) { return 1, nil },
		Knows: func(context.Context, inventory.Host) (bool, error) { return true, nil },
		Forks: 50, Allowed: 50, Helpers: fstest.MapFS{"identify-linux-amd64.gz": {}}, Records: db,
		Now: func() time.Time { return now },
	}
}

// answering changes what the proxy tells.
func answering(change func(*proxy.Answer)) func(*Options) {
	return func(o *Options) {
		ask := o.Ask
		o.Ask = func(ctx context.Context, addr string) (proxy.Answer, error) {
			a, err := ask(ctx, addr)
			change(&a)
			return a, err
		}
	}
}

// saying is a tctl that says the same to everything of one kind, and fails.
func saying(o *Options, what, words string) {
	healthy := o.Tctl.Runner.(tctl.Func) //nolint:forcetypeassert // of healthy
	o.Tctl = &tctl.Tctl{Runner: tctl.Func(func(ctx context.Context, in []byte, args []string) (stdout, stderr []byte, code int) {
		if strings.Contains(strings.Join(args, " "), what) {
			return nil, []byte("ERROR: " + words + "\n"), 1
		}
		return healthy(ctx, in, args)
	})}
}

func TestAllIsWell(t *testing.T) {
	t.Parallel()
	got, err := Examine(t.Context(), healthy(t, "18.4.0"))
	if err != nil || len(got) != len(checks) {
		t.Fatalf("%d checks, %v", len(got), err)
	}
	for _, c := range got {
		if c.State != OK || c.Message == "" || c.Check == "" {
			t.Errorf("%+v", c)
		}
	}
}

func TestWhatIsWrongIsSaid(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		version string
		change  func(*Options)
		check   string
		state   State
		message string
	}{
		"fleet.yaml":              {change: func(o *Options) { o.ConfigErr = errors.New("is empty") }, check: "fleet.yaml", state: Error, message: "is empty"},
		"no inventory":            {change: func(o *Options) { o.InventoryErr = errors.New("no such file") }, check: "inventory", state: Error, message: "no such file"},
		"an inventory of nobody":  {change: func(o *Options) { o.Hosts = nil }, check: "inventory", state: Warning, message: "has no hosts"},
		"no tctl":                 {change: func(o *Options) { o.Tctl, o.TctlErr = nil, outcome.WithHint(errors.New("not in PATH"), "install it") }, check: "tctl", state: Error, message: "not in PATH"},
		"tctl is not logged in":   {change: func(o *Options) { saying(o, "status", "expired") }, check: "tctl", state: Error, message: "expired"},
		"and nobody asks it more": {change: func(o *Options) { saying(o, "status", "expired") }, check: "read tokens", state: Skipped, message: "tctl does not answer"},
		"no right to read tokens": {change: func(o *Options) { saying(o, "tokens", "access denied to perform action \"list\" on \"token\"") }, check: "read tokens", state: Error, message: "access denied"},
		"no right to read bots":   {change: func(o *Options) { saying(o, "bot/", "access denied to perform action \"read\" on \"bot\"") }, check: "read bots", state: Error, message: "access denied"},
		"no right to instances":   {change: func(o *Options) { saying(o, "bot_instance", "access denied") }, check: "read bot instances", state: Warning, message: "access denied"},
		"a cluster without any":   {version: "16.0.0", check: "read bot instances", state: Skipped, message: "keeps none"},
		"nobody asks for them":    {change: func(o *Options) { o.Config.Cluster.Verify = config.VerifyHost }, check: "read bot instances", state: Skipped, message: "cluster.verify is host"},
		"agents":                  {change: func(o *Options) { o.Config.Token.Kind = "node" }, check: "read bots", state: Skipped, message: "agents have no bot"},
		"the proxy is down": {change: func(o *Options) {
			o.Ask = func(context.Context, string) (proxy.Answer, error) {
				return proxy.Answer{}, errors.New("connection refused")
			}
		}, check: "proxy", state: Error, message: "connection refused"},
		"it is no proxy": {change: func(o *Options) {
			o.Ask = func(context.Context, string) (proxy.Answer, error) { return proxy.Answer{}, proxy.ErrNoTeleport }
		}, check: "proxy", state: Error, message: "no proxy of Teleport"},
		"another cluster's proxy":   {change: answering(func(a *proxy.Answer) { a.Cluster = "other" }), check: "proxy", state: Error, message: "is a proxy of cluster other, and tctl speaks to example.com"},
		"an auth server":            {change: func(o *Options) { o.Config.Cluster.ProxyServer, o.Config.Cluster.AuthServer = "", "a:3025" }, check: "proxy", state: Skipped, message: "auth server"},
		"a cluster that is too old": {version: "15.2.0", check: "version", state: Error, message: "15.2.0, which does not know"},
		"a cluster of the future":   {version: "23.0.0", check: "version", state: Warning, message: "nothing certain"},
		"no licence":                {change: answering(func(a *proxy.Answer) { a.Edition = proxy.EditionCommunity }), check: "edition", state: Error, message: "needs Teleport Enterprise"},
		"nobody tells the edition":  {change: answering(func(a *proxy.Answer) { a.Edition = "" }), check: "edition", state: Skipped, message: "nobody tells it"},
		"FIPS":                      {change: answering(func(a *proxy.Answer) { a.FIPS = true }), check: "fips", state: Error, message: "FIPS mode"},
		"a clock two minutes off":   {change: answering(func(a *proxy.Answer) { a.Time = now.Add(2 * time.Minute) }), check: "clock", state: Warning, message: "2m0s from the proxy's"},
		"a clock two hours off":     {change: answering(func(a *proxy.Answer) { a.Time = now.Add(-2 * time.Hour) }), check: "clock", state: Error, message: "2h0m0s from the proxy's"},
		"a clock half a minute off": {change: answering(func(a *proxy.Answer) { a.Time = now.Add(30 * time.Second) }), check: "clock", state: OK, message: "as the proxy's"},
		"no agent":                  {change: func(o *Options) { o.Agent = func(context.Context) (int, error) { return 0, remote.ErrNoAgent } }, check: "ssh-agent", state: Skipped, message: "read from files"},
		"a dead agent":              {change: func(o *Options) { o.Agent = func(context.Context) (int, error) { return 0, errors.New("refused") } }, check: "ssh-agent", state: Warning, message: "refused"},
		"an empty agent":            {change: func(o *Options) { o.Agent = func(context.Context) (int, error) { return 0, nil } }, check: "ssh-agent", state: Warning, message: "holds no keys"},
		"an unknown host": {change: func(o *Options) {
			o.Knows = func(_ context.Context, h inventory.Host) (bool, error) { return h.Name != "web-02", nil }
		}, check: "known_hosts", state: Warning, message: "1 of 2 hosts are not known, such as web-02"},
		"few open files":         {change: func(o *Options) { o.Allowed = 16 }, check: "open files", state: Warning, message: "16 hosts at once, and 50"},
		"no helpers":             {change: func(o *Options) { o.Helpers = fstest.MapFS{} }, check: "helpers", state: Warning, message: "none is in this program"},
		"no records yet":         {change: func(o *Options) { o.Records += ".none" }, check: "records", state: Skipped, message: "fleetctl scan makes it"},
		"a directory as records": {change: func(o *Options) { o.Records = filepath.Dir(o.Records) }, check: "records", state: Error, message: "no regular file"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			v := tt.version
			if v == "" {
				v = "18.4.0"
			}
			opts := healthy(t, v)
			if tt.change != nil {
				tt.change(&opts)
			}
			got, err := Examine(t.Context(), opts)
			if err != nil {
				t.Fatal(err)
			}
			for _, c := range got {
				if c.Check != tt.check {
					continue
				}
				if c.State != tt.state || !strings.Contains(c.Message, tt.message) {
					t.Errorf("%+v", c)
				}
				if (c.State == Warning || c.State == Error) && c.Hint == "" && tt.check != "fleet.yaml" && tt.check != "inventory" && tt.check != "records" {
					t.Errorf("it doesn't say what to do: %+v", c)
				}
				return
			}
			t.Errorf("there is no check %s", tt.check)
		})
	}
}

// What never answers costs one check, not the others.
func TestACheckHasItsOwnLimit(t *testing.T) {
	t.Parallel()
	opts := healthy(t, "18.4.0")
	opts.Limit = 50 * time.Millisecond
	opts.Agent = func(ctx context.Context) (int, error) {
		<-ctx.Done()
		return 0, ctx.Err()
	}
	looked := 0
	opts.Knows = func(ctx context.Context, _ inventory.Host) (bool, error) {
		if looked++; looked > 1 {
			<-ctx.Done()
		}
		return true, ctx.Err()
	}
	got, err := Examine(t.Context(), opts)
	if err != nil {
		t.Fatal(err)
	}
	said := map[string]Check{}
	for _, c := range got {
		said[c.Check] = c
	}
	if c := said["ssh-agent"]; c.State != Warning || c.Message != "its time is over" {
		t.Errorf("%+v", c)
	}
	if c := said["known_hosts"]; c.State != OK || c.Message != "all of 1 that there was time for, of 2, hosts are known" {
		t.Errorf("%+v", c)
	}
	if said["helpers"].State != OK {
		t.Errorf("%+v", said["helpers"])
	}
}

func TestAnInterruptEndsTheExamination(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := Examine(ctx, healthy(t, "18.4.0")); !errors.Is(err, context.Canceled) {
		t.Errorf("%v", err)
	}
}
