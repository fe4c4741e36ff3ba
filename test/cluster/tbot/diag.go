package tbot

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"sync"
	"time"
)

// readiness is what /readyz says: not ready until the first join, and while renewals fail.
type readiness struct {
	mu     sync.Mutex
	joined bool
	err    error
}

func (r *readiness) set(err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.joined = r.joined || err == nil
	r.err = err
}

func (r *readiness) check() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.joined {
		return errors.New("initializing")
	}
	return r.err
}

// serveDiag serves /livez, /readyz and /metrics on diag_addr, if it is set, until the function that it returns is
// called.
func (b *bot) serveDiag(ctx context.Context) (func(), error) {
	if b.config.DiagAddr == "" {
		return func() {}, nil
	}
	l, err := (&net.ListenConfig{}).Listen(ctx, "tcp", b.config.DiagAddr)
	if err != nil {
		return nil, fmt.Errorf("diagnostics: %w", err)
	}
	mux := http.NewServeMux()
	mux.HandleFunc("/livez", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, "ok") })
	mux.HandleFunc("/metrics", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, "# stand-in: none") })
	mux.HandleFunc("/readyz", func(w http.ResponseWriter, _ *http.Request) {
		if err := b.ready.check(); err != nil {
			http.Error(w, "unhealthy: "+err.Error(), http.StatusServiceUnavailable)
			return
		}
		fmt.Fprintln(w, "ok")
	})
	server := &http.Server{Handler: mux, ReadHeaderTimeout: 5 * time.Second}
	go func() { _ = server.Serve(l) }()
	return func() { _ = server.Close() }, nil
}

// logger writes lines like tbot's: time, level, component, message, fields.
type logger struct {
	mu sync.Mutex
	w  io.Writer
}

func (l *logger) info(component, message string, fields ...any) {
	l.line("INFO", component, message, fields)
}

func (l *logger) warn(component, message string, fields ...any) {
	l.line("WARN", component, message, fields)
}

func (l *logger) line(level, component, message string, fields []any) {
	l.mu.Lock()
	defer l.mu.Unlock()
	fmt.Fprintf(l.w, "%s %s  [%s] %s", time.Now().UTC().Format("2006-01-02T15:04:05.000Z"), level, component, message)
	for i := 0; i+1 < len(fields); i += 2 {
		fmt.Fprintf(l.w, " %v:%v", fields[i], fields[i+1])
	}
	fmt.Fprintln(l.w)
}
