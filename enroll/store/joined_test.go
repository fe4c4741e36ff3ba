package store

import (
	"testing"
	"time"
)

func TestWhetherAHostHasJoinedAsItIs(t *testing.T) {
	t.Parallel()
	at := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	after, before := at.Add(time.Hour), at.Add(-time.Hour)
	for _, tt := range []struct {
		name string
		in   *Installed
		want bool
	}{
		{"nothing is known", nil, false},
		{"a run saw it after the last change", &Installed{Token: "fleet", JoinedWith: "fleet", ChangedRun: 4, JoinedRun: 5}, true},
		{"the run that changed it saw it", &Installed{Token: "fleet", JoinedWith: "fleet", ChangedRun: 5, JoinedRun: 5}, true},
		{"it was changed since", &Installed{Token: "fleet", JoinedWith: "fleet", ChangedRun: 6, JoinedRun: 5}, false},
		{"no run saw the tbot that it has now", &Installed{Token: "fleet", JoinedWith: "fleet", JoinedAt: &after, At: at, ChangedRun: 5}, false},
		{"it joined with another token", &Installed{Token: "fleet", JoinedWith: "fleet-2", ChangedRun: 4, JoinedRun: 5}, false},
		{"it is configured with another token", &Installed{Token: "fleet-2", JoinedWith: "fleet", ChangedRun: 4, JoinedRun: 5}, false},
		{"a run is at it", &Installed{Token: "fleet", JoinedWith: "fleet", ChangedRun: 4, JoinedRun: 5, State: "applying"}, false},
		{"an older version saw a join after the change", &Installed{Token: "fleet", JoinedWith: "fleet", At: at, JoinedAt: &after}, true},
		{"an older version saw one before it", &Installed{Token: "fleet", JoinedWith: "fleet", At: at, JoinedAt: &before}, false},
		{"an older version saw none", &Installed{Token: "fleet", At: at}, false},
	} {
		if got := tt.in.JoinedBy("fleet"); got != tt.want {
			t.Errorf("%s: %v", tt.name, got)
		}
	}
	if (&Installed{JoinedRun: 1}).JoinedBy("") {
		t.Error("a host without a token has joined with it")
	}
}
