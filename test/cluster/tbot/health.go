package tbot

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"os"
	"slices"
	"sync"
	"time"

	"fleetctl/test/cluster/versions"
)

// Words of /readyz.
const (
	healthy      = "healthy"
	unhealthy    = "unhealthy"
	initializing = "initializing"
)

// health is how the services are, for /readyz. Its shape is that of lib/tbot/readyz/*.go@92733783; samples readyz-*.json.
type health struct {
	mu       sync.Mutex
	services map[string]*serviceHealth
	reported chan struct{} // closed once every service has reported
}

type serviceHealth struct {
	Status    string     `json:"status"`
	Reason    string     `json:"reason,omitempty"`
	UpdatedAt *time.Time `json:"updated_at"`
}

func newHealth(names []string) *health {
	h := &health{services: map[string]*serviceHealth{}, reported: make(chan struct{})}
	for _, name := range names {
		h.services[name] = &serviceHealth{Status: initializing}
	}
	return h
}

// set is a service's report.
func (h *health) set(name string, err error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	now := time.Now().UTC()
	h.services[name] = &serviceHealth{Status: healthy, UpdatedAt: &now}
	if err != nil {
		h.services[name].Status, h.services[name].Reason = unhealthy, err.Error()
	}
	select {
	case <-h.reported:
	default:
		if !slices.ContainsFunc(slices.Collect(maps.Values(h.services)), func(s *serviceHealth) bool { return s.Status == initializing }) {
			close(h.reported)
		}
	}
}

// all is the health of the whole and of each.
func (h *health) all() (status string, services map[string]serviceHealth) {
	h.mu.Lock()
	defer h.mu.Unlock()
	status, services = healthy, map[string]serviceHealth{}
	for name, s := range h.services {
		services[name] = *s
		if s.Status != healthy {
			status = unhealthy // one that initializes is unhealthy, too
		}
	}
	return status, services
}

// serveReady answers /readyz and /readyz/NAME. Up to 17.5.3 and 18.0.1 it says yes as long as it listens (versions.md, C).
func (b *bot) serveReady(w http.ResponseWriter, r *http.Request) {
	name := r.PathValue("service")
	if !versions.Has("health.readyz_means_healthy", b.V) {
		if name != "" {
			notFound(w, r)
			return
		}
		fmt.Fprintln(w, "OK")
		return
	}
	status, services := b.health.all()
	if name != "" {
		s, ok := services[name]
		if !ok {
			answer(w, http.StatusNotFound, map[string]any{"error": fmt.Sprintf("Service named %q not found.", name)})
			return
		}
		answer(w, codeOf(s.Status), b.entry(s))
		return
	}
	body := map[string]any{"status": status}
	entries := map[string]any{}
	for name, s := range services {
		entries[name] = b.entry(s)
	}
	body["services"] = entries
	if versions.Has("health.readyz_pid", b.V) {
		body["pid"] = os.Getpid()
	}
	answer(w, codeOf(status), body)
}

// entry is the JSON of a service. Since when there are times is not known, only that it was later than the rest
// (versions.md, C): here it is the next minor release.
func (b *bot) entry(s serviceHealth) any {
	if b.Since("17.6.0", "18.1.0") {
		return s
	}
	plain := map[string]string{"status": s.Status}
	if s.Reason != "" {
		plain["reason"] = s.Reason
	}
	return plain
}

func codeOf(status string) int {
	if status == healthy {
		return http.StatusOK
	}
	return http.StatusServiceUnavailable
}

func answer(w http.ResponseWriter, code int, body any) {
	data, err := json.MarshalIndent(body, "", "  ")
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(code)
	fmt.Fprintf(w, "%s\n", data)
}

func notFound(w http.ResponseWriter, _ *http.Request) {
	http.Error(w, "404 page not found", http.StatusNotFound)
}

// serveWait answers /wait once every service has reported, like /readyz (18.6.4 and later: #62719).
func (b *bot) serveWait(w http.ResponseWriter, r *http.Request) {
	select {
	case <-b.health.reported:
		b.serveReady(w, r)
	case <-r.Context().Done():
	}
}
