package enroll

import (
	"archive/tar"
	"compress/gzip"
	"context"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"fleetctl/enroll/host"
	"fleetctl/enroll/outcome"
	"fleetctl/enroll/redact"
	"fleetctl/inventory"
)

// SupportOptions of Support.
type SupportOptions struct {
	Names bool      // leave names as they are: of hosts, of the cluster, of bots and tokens
	About string    // what made the bundle: fleetctl's version
	Now   time.Time // zero: now
}

// Support records what tctl and the chosen hosts' tbots print, byte for byte but for what Redactor takes out, and writes
// it to w as a .tar.gz: "cluster/…" and "hosts/NAME/…". Nothing is changed anywhere. A host that cannot be reached is in
// the report; the error is ErrHostsFailed then.
func Support(ctx context.Context, f Fleet, w io.Writer, opts SupportOptions) (HostsReport, error) {
	if opts.Now.IsZero() {
		opts.Now = time.Now()
	}
	b := &bundle{Fleet: f, files: map[string]string{}}
	b.cluster(ctx)
	report, err := b.hosts(ctx)
	if err != nil {
		return report, err
	}
	if err := b.write(w, opts); err != nil {
		return report, err
	}
	return report, report.Summary().Err()
}

// bundle gathers files.
type bundle struct {
	Fleet
	mu    sync.Mutex
	files map[string]string
}

func (b *bundle) add(name, content string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.files[name] = content
}

// cluster records how tctl speaks: what there is, and what there is not.
func (b *bundle) cluster(ctx context.Context) {
	if b.Cluster == nil {
		return
	}
	bot := b.Config.Bot.Name
	for name, args := range map[string][]string{
		"tctl-version":           {"version"},
		"tctl-status":            {"status"},
		"tctl-get-bot":           {"get", "bot/" + bot, "--format=json"},
		"tctl-get-bot-missing":   {"get", "bot/fleetctl-does-not-exist", "--format=json"},
		"tctl-get-token-missing": {"get", "token/fleetctl-does-not-exist", "--format=json"},
		"tctl-get-bot-instances": {"get", "bot_instance/" + bot, "--format=json"},
	} {
		r := b.Cluster.Record(ctx, args...)
		b.add("cluster/"+name+".stdout", string(r.Stdout))
		b.add("cluster/"+name+".stderr", string(r.Stderr))
		b.add("cluster/"+name+".command", fmt.Sprintf("tctl %s\nended: %s\n", strings.Join(args, " "), ending(r.Err)))
	}
}

func ending(err error) string {
	if err == nil {
		return "well"
	}
	return err.Error()
}

// hosts records the chosen hosts.
func (b *bundle) hosts(ctx context.Context) (HostsReport, error) {
	crew, err := b.newCrew(func(name string) string { return b.recordedToken(ctx, name) })
	if err != nil {
		return HostsReport{}, err
	}
	defer crew.close()
	reach, closeAll, err := b.reach(ctx, b.Hosts)
	if err != nil {
		return HostsReport{}, err
	}
	defer closeAll()
	crew.at(0, reach)
	b.Watcher.Begin(StageSupport, len(b.Hosts))
	results := crew.now.Hosts(ctx, reach, b.Hosts, func(ctx context.Context, h inventory.Host) outcome.Result {
		parts, err := crew.listen(ctx, h)
		if err != nil {
			return outcome.Failure(ctx, h, err)
		}
		for name, content := range parts {
			b.add("hosts/"+folder(h.Name)+"/"+name, content)
		}
		return outcome.Result{Host: h.Name, Outcome: outcome.OK}
	})
	b.Watcher.End()
	return HostsReport{Results: results}, context.Cause(ctx)
}

// folder is a host's name as a folder's.
func folder(name string) string {
	return strings.Map(func(r rune) rune {
		if r == '/' || r == '\\' || r < ' ' {
			return '_'
		}
		return r
	}, strings.TrimLeft(name, "."))
}

// listen records what one host says.
func (c *crew) listen(ctx context.Context, h inventory.Host) (host.Recorded, error) {
	d, err := c.desired(h)
	if err != nil {
		return nil, err
	}
	conn, err := c.connect(ctx, h)
	if err != nil {
		return nil, err
	}
	defer func() { _ = conn.Close() }() // nothing was changed
	return host.Record(ctx, conn, d)
}

const supportIntro = `What tctl and tbot print in this fleet, recorded by fleetctl %s on %s.

cluster/  what tctl printed, on stdout and on stderr, and how it ended
hosts/    a folder a host: tbot's version, what it says of the TPM, its unit, its journal, its health

Secrets were taken out. Hashes, serials, UUIDs and addresses have stand-ins of the same form, the same ones throughout.%s
Look through it before you give it to somebody.
`

// write packs the redacted files.
func (b *bundle) write(w io.Writer, opts SupportOptions) error {
	r := redact.New()
	names := "\nNames are those of the fleet."
	if !opts.Names {
		names = "\nNames of hosts, of the cluster, of bots and tokens have stand-ins, too."
		b.tellNames(r)
	}
	z := gzip.NewWriter(w)
	t := tar.NewWriter(z)
	add := func(name, content string) error {
		h := &tar.Header{Name: "fleetctl-support/" + name, Mode: 0o600, Size: int64(len(content)), ModTime: opts.Now}
		if err := t.WriteHeader(h); err != nil {
			return err
		}
		_, err := io.WriteString(t, content)
		return err
	}
	if err := add("README.txt", fmt.Sprintf(supportIntro, opts.About, opts.Now.UTC().Format(time.DateOnly), names)); err != nil {
		return err
	}
	for _, name := range slices.Sorted(maps.Keys(b.files)) {
		if err := add(r.Text(name), r.Text(b.files[name])); err != nil {
			return err
		}
	}
	if err := t.Close(); err != nil {
		return err
	}
	return z.Close()
}

// tellNames says which names get stand-ins.
func (b *bundle) tellNames(r *redact.Redactor) {
	for i, h := range b.Inventory {
		r.Name(h.Name, fmt.Sprintf("host-%d", i+1))
		if c, err := h.Connection(); err == nil {
			r.Name(c.Host, fmt.Sprintf("host-%d", i+1))
			r.Name(c.User, "user")
		}
	}
	for _, address := range []string{b.Config.Cluster.ProxyServer, b.Config.Cluster.AuthServer} {
		name, _, _ := strings.Cut(address, ":")
		r.Name(name, "teleport.example.com")
		if _, domain, ok := strings.Cut(name, "."); ok {
			r.Name(domain, "example.com")
		}
	}
	r.Name(b.Config.Bot.Name, "bot")
	r.Name(b.Config.Token.Name, "token")
}
