package tbot

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"os"
	"time"

	"fleetctl/test/cluster/cli"
	"fleetctl/test/cluster/versions"
)

// serveDiag serves the diagnostics on diag_addr and on the updater's socket, if they are set, until the function that it
// returns is called (versions.md, C: diagnostics/service.go@2c6db31d).
func (b *bot) serveDiag(ctx context.Context, socket string) (func(), error) {
	server := &http.Server{Handler: b.endpoints(), ReadHeaderTimeout: 5 * time.Second}
	for _, at := range []struct{ network, address string }{{"tcp", b.config.DiagAddr}, {"unix", socket}} {
		if at.address == "" {
			continue
		}
		if at.network == "unix" {
			_ = os.Remove(at.address) // of an earlier run
		}
		l, err := (&net.ListenConfig{}).Listen(ctx, at.network, at.address)
		if err != nil {
			_ = server.Close()
			return func() {}, cli.Wrap(err, "starting diagnostics service")
		}
		go func() { _ = server.Serve(l) }()
	}
	return func() { _ = server.Close() }, nil
}

func (b *bot) endpoints() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("/", notFound)
	mux.HandleFunc("/livez", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "OK") })
	mux.HandleFunc("/metrics", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, "# stand-in: none") })
	mux.HandleFunc("/readyz", b.serveReady)
	mux.HandleFunc("/readyz/{service}", b.serveReady)
	if versions.Has("health.wait_endpoint", b.V) {
		mux.HandleFunc("/wait", b.serveWait)
		mux.HandleFunc("/wait/{service}", b.serveWait)
	}
	return mux
}

// wait asks /wait until it says yes: tool/tbot/wait.go@a07c2bc1. It may start before tbot does.
func (t *tool) wait(args []string) error {
	given, err := cli.Command{Name: "tbot wait", Flags: append([]cli.Flag{
		{Name: "diag-addr"}, {Name: "service"}, {Name: "timeout"},
	}, debugFlags...)}.Parse(args)
	if err != nil {
		return err
	}
	timeout, err := given.Duration("timeout")
	if err != nil {
		return err
	}
	if !given.Has("diag-addr") {
		return cli.Unscripted("tbot wait without --diag-addr")
	}
	ctx := context.Background()
	if timeout > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, timeout)
		defer cancel()
	}
	path := "http://" + given.Text("diag-addr") + "/wait"
	if given.Has("service") {
		path += "/" + url.PathEscape(given.Text("service"))
	}
	for {
		err := ask(ctx, path)
		if err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return err
		case <-time.After(250 * time.Millisecond):
		}
	}
}

func ask(ctx context.Context, path string) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, path, nil)
	if err != nil {
		return err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("not ready: %s", resp.Status)
	}
	return nil
}
