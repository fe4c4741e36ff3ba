package main

import (
	"context"
	"errors"
	"testing"
	"time"

	"fleetctl/enroll/outcome"
	"fleetctl/inventory"
	"fleetctl/remote"
)

// TestTheHintOfATimeOutNamesTheLimitThatPassed: by the flag that raises it.
func TestTheHintOfATimeOutNamesTheLimitThatPassed(t *testing.T) {
	t.Parallel()
	over, cancel := context.WithDeadline(t.Context(), time.Now().Add(-time.Second))
	defer cancel()
	kind := func(k error, why string) error {
		return &remote.Error{Kind: k, Err: errors.New(why), Hint: "is the host up?"}
	}
	for _, tt := range []struct {
		ctx  context.Context
		err  error
		hint string
	}{
		{t.Context(), kind(remote.ErrConnectTimeout, "no connection"), "is the host up? (--connect-timeout)"},
		{t.Context(), kind(remote.ErrLoginTimeout, "no answer"), "is the host up? (--auth-timeout)"},
		{over, kind(remote.ErrConnectTimeout, "no connection"), "is the host up? (--timeout)"},
		{over, errors.New("cut short"), "raise the time limit if the host is only slow (--timeout)"},
		{t.Context(), kind(remote.ErrTimeout, "silent"), "is the host up? (" + advice[outcome.Timeout] + ")"},
	} {
		r := outcome.Failure(tt.ctx, inventory.Host{Name: "web-01"}, tt.err)
		if got := advise(r.Host, r.Reason); got.Code != outcome.Timeout || got.Hint != tt.hint {
			t.Errorf("%v: %s, %q; want %q", tt.err, got.Code, got.Hint, tt.hint)
		}
	}
}

// TestAHintNamesTheHost: also that of a code, and of a warning.
func TestAHintNamesTheHost(t *testing.T) {
	t.Parallel()
	for _, m := range outcome.Codes() {
		r := advise("web-01", outcome.Reason{Code: m.Code, Hint: m.Do})
		if hostWord.MatchString(r.Hint) {
			t.Errorf("%s: %s", m.Code, r.Hint)
		}
	}
	all := adviseAll([]outcome.Result{{
		Host: "web-01", Warnings: []outcome.Warning{{Reason: outcome.Reason{Code: outcome.ChangedEK, Hint: "look at HOST"}}},
	}})
	if got := all[0].Warnings[0].Hint; got != "look at web-01 (fleetctl records accept web-01)" {
		t.Errorf("%q", got)
	}
}
