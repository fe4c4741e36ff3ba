package host

import (
	"cmp"
	"encoding/json"
	"errors"
	"fleetctl/enroll/versions"
	"fleetctl/remote"
	"fmt"
	"maps"
	"net"
	"regexp"
	"slices"
	"strings"
)

// What /readyz means depends on the version: versions.Readyz. From 17.5.4 and 18.0.2 on it is 503 as long as any service is
// unhealthy or has not begun, and says which (lib/tbot/readyz@92733783); so 503 does not mean that tbot has not joined, and
// starting tbot again cures nothing.

// botService is the service that has the bot's own identity: it is healthy once tbot has joined.
const botService = "identity"

// answered is the HTTP status of an answer: none is "000".
var answered = regexp.MustCompile(`^\d{3}$`)

// readyz is what tbot's health address said.
type readyz struct {
	status string // of HTTP; "000" when nothing answered, "" when nobody asked
	body   string // JSON from 17.5.4 and 18.0.2 on; "" where the host has nothing that could read it
}

// diagAddr is where tbot's health can be asked on the host; port is "" for nowhere.
func (d Desired) diagAddr() (host, port string) {
	host, port, _ = net.SplitHostPort(d.Tbot.DiagAddr)
	switch host {
	case "", "0.0.0.0":
		host = "127.0.0.1"
	case "::":
		host = "::1"
	}
	return host, port
}

// setReady takes the HTTP status of /readyz.
func setReady(f *Facts, v string) error {
	if !answered.MatchString(v) {
		return errors.New("no HTTP status")
	}
	f.ready.status = v
	return nil
}

// nobodyAnswers is the status of a health address where nothing listens.
const nobodyAnswers = "000"

// Silent says whether tbot's health was asked where nothing listens.
func (f *Facts) Silent() bool { return f.ready.status == nobodyAnswers }

// Ready is the HTTP status of /readyz, "000" when nothing answers, and "" when it wasn't asked.
func (f *Facts) Ready() string { return f.ready.status }

// Trouble is what /readyz says is wrong with a running tbot; "" for nothing, and for what proves nothing: up to 18.7.6 the
// bot's own service stays unhealthy after a renewal that failed at the start and has succeeded since (#65258).
func (f *Facts) Trouble() string {
	switch f.ready.status {
	case "", "200":
		return ""
	case nobodyAnswers:
		return "nothing answers at tbot.diag_addr: tbot has not joined yet, or listens elsewhere"
	case "503":
		return f.unhealthy()
	}
	return "/readyz says " + f.ready.status
}

func (f *Facts) unhealthy() string {
	sure := versions.Readyz(f.tbot.version).TroubleBy503()
	services := f.ready.services()
	var bad []string
	for _, name := range slices.Sorted(maps.Keys(services)) {
		s := services[name]
		if s.Status == "healthy" || name == botService && s.Status == "unhealthy" && !sure {
			continue
		}
		why := strings.Join(strings.FieldsFunc(s.Reason, func(r rune) bool { return r == '\n' || r == '\t' }), ": ")
		bad = append(bad, remote.Clean(remote.Cut(name+" is "+cmp.Or(s.Status, "silent")+parenthesis(why), 200)))
	}
	switch {
	case len(bad) > 0:
		return "/readyz says 503: " + strings.Join(bad, ", ")
	case len(services) == 0 && sure:
		return "/readyz says 503"
	}
	return ""
}

func parenthesis(s string) string {
	if s == "" {
		return ""
	}
	return fmt.Sprintf(" (%s)", s)
}

// serviceHealth is how one of tbot's services is: healthy, unhealthy or initializing.
type serviceHealth struct {
	Status string `json:"status"`
	Reason string `json:"reason"`
}

// services are those that the body names; none where it can't be read.
func (r readyz) services() map[string]serviceHealth {
	var body struct {
		Services map[string]serviceHealth `json:"services"`
	}
	if json.Unmarshal([]byte(r.body), &body) != nil {
		return nil
	}
	return body.Services
}
