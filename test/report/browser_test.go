package report

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/log"
	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"

	"fleetctl/enroll/enrolltest/program"
)

// writePage makes the records of a fleet and returns the file that fleetctl report writes of them.
func writePage(tb testing.TB, hosts int) string {
	tb.Helper()
	fleetctl, dir := program.Fleetctl(tb), tb.TempDir()
	names, err := makeRecords(tb.Context(), filepath.Join(dir, "fleet.db"), hosts)
	if err != nil {
		tb.Fatal(err)
	}
	inventory := "[all]\n" + strings.Join(names, "\n") + "\n"
	for name, content := range map[string]string{"hosts.ini": inventory, "fleet.yaml": fleetYAML} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o600); err != nil {
			tb.Fatal(err)
		}
	}
	cmd := exec.Command(fleetctl, "report")
	cmd.Dir, cmd.Stderr = dir, os.Stderr
	page, err := os.Create(filepath.Join(dir, "fleet.html"))
	if err != nil {
		tb.Fatal(err)
	}
	cmd.Stdout = page
	peak, err := program.Run(cmd)
	if err := errors.Join(err, page.Close()); err != nil {
		tb.Fatal(err)
	}
	tb.Logf("%d hosts: fleetctl took %v and %d MiB", hosts, cmd.ProcessState.UserTime(), peak>>20)
	return page.Name()
}

const fleetYAML = `version: v1
fleet: europe
inventory: hosts.ini
cluster: {proxy_server: "teleport.example.com:443"}
bot: {name: fleet, roles: [fleet-access]}
token: {name: fleet}
`

// browser is a Chromium with one page, and what that page did which nobody should see.
type browser struct {
	ctx context.Context
	tb  testing.TB

	mu       sync.Mutex
	faults   []string // errors of scripts, violations of the policy
	requests []string // of anything but the page itself
}

// startBrowser starts a Chromium without a window. Without one the test is skipped, and fails in CI.
func startBrowser(tb testing.TB, width, height int) *browser {
	tb.Helper()
	path, err := exec.LookPath("chromium")
	switch {
	case err == nil:
	case os.Getenv("CI") != "":
		tb.Fatal(err)
	default:
		tb.Skip("no chromium: apt-get install chromium")
	}
	ctx, cancel := chromedp.NewExecAllocator(tb.Context(), append(chromedp.DefaultExecAllocatorOptions[:],
		chromedp.ExecPath(path), chromedp.NoSandbox, chromedp.WindowSize(width, height))...) // its sandbox wants no root
	tb.Cleanup(cancel)
	b := &browser{tb: tb}
	b.ctx, cancel = chromedp.NewContext(ctx, chromedp.WithListener(b.hear))
	tb.Cleanup(cancel)
	call(b, network.Enable, network.EnableParams{})
	call(b, log.Enable, struct{}{})
	return b
}

// hear notes what the page does.
func (b *browser) hear(event any) {
	b.mu.Lock()
	defer b.mu.Unlock()
	switch e := event.(type) {
	case *runtime.EventExceptionThrown:
		b.faults = append(b.faults, e.ExceptionDetails.Text+" "+fmt.Sprint(e.ExceptionDetails.Exception))
	case *log.EventEntryAdded:
		b.faults = append(b.faults, e.Entry.Text)
	case *runtime.EventConsoleAPICalled:
		b.faults = append(b.faults, fmt.Sprint("console: ", e.Type))
	case *network.EventRequestWillBeSent:
		if url := e.Request.URL; !strings.HasPrefix(url, "file://") || !strings.HasSuffix(url, "/fleet.html") {
			b.requests = append(b.requests, url)
		}
	}
}

// heard are the faults and requests until now.
func (b *browser) heard() (faults, requests []string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return slices.Clone(b.faults), slices.Clone(b.requests)
}

// do runs actions one after the other.
func (b *browser) do(actions ...chromedp.Action[chromedp.Void]) {
	b.tb.Helper()
	if err := chromedp.Do(b.ctx, actions...); err != nil {
		b.tb.Fatal(err)
	}
}

// get runs an action that has a result.
func get[T any](b *browser, action chromedp.Action[T]) T {
	b.tb.Helper()
	v, err := chromedp.Run(b.ctx, action)
	if err != nil {
		b.tb.Fatal(err)
	}
	return v
}

// call runs a command of the DevTools protocol.
func call[P, R any](b *browser, command cdp.Command[P, R], params P) R {
	b.tb.Helper()
	r, err := chromedp.Call(b.ctx, command, params)
	if err != nil {
		b.tb.Fatal(err)
	}
	return r
}

// eval is what an expression of JavaScript is in the page.
func eval[T any](b *browser, expression string) T {
	b.tb.Helper()
	return get(b, chromedp.Evaluate[T](expression, chromedp.EvalAwaitPromise))
}

func (b *browser) open(page string) {
	b.tb.Helper()
	b.do(chromedp.Navigate("file://" + page))
}
