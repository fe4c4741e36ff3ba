package enroll

import (
	"strings"
	"testing"

	"fleetctl/enroll/enrolltest"
	"fleetctl/enroll/outcome"
)

// closed is a directory of root's alone.
func closed() *enrolltest.File {
	return &enrolltest.File{Kind: enrolltest.Dir, Mode: 0o700, Owner: "root", Group: "root"}
}

func TestBesideATeleportAgentTbotKeepsItsStateElsewhere(t *testing.T) {
	t.Parallel()
	l := newLab(t, 2)
	l.with("web-01", func(s *enrolltest.State) { s.Files["/var/lib/teleport"] = closed() })
	l.enrolled()
	for host, want := range map[string]string{"web-01": "/var/lib/tbot", "web-02": "/var/lib/teleport/bot"} {
		l.with(host, func(s *enrolltest.State) {
			if f := s.Files[want]; f == nil || f.Owner != "teleport" || f.Mode != 0o700 {
				t.Errorf("%s: %s is %+v", host, want, f)
			}
		})
		if in := l.record(host).Installed; in.Storage != want {
			t.Errorf("%s: the records have storage %s, want %s", host, in.Storage, want)
		}
	}
	l.with("web-01", func(s *enrolltest.State) { s.Files["/var/lib/teleport"].Mode = 0o755 }) // the agent went
	report, err := l.enroll()
	l.check("once the agent is gone", report.Results, err, "web-01 ok, web-02 ok", nil)
}

// TestNothingIsDoneOnAHostThatAPlanRefuses has hosts on which an enroll would break in the middle.
func TestNothingIsDoneOnAHostThatAPlanRefuses(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		odd  func(*lab)
		code outcome.Code
		says string
	}{
		"the storage was chosen below a closed directory": {func(l *lab) {
			l.Config.Tbot.Storage = "/srv/app/bot"
			l.with("web-01", func(s *enrolltest.State) { s.Files["/srv/app"] = closed() })
		}, outcome.StorageDenied, "/srv/app (0700 root:root) is closed"},
		"the storage lies below a link": {func(l *lab) {
			l.Config.Tbot.Storage = "/srv/link/bot"
			l.with("web-01", func(s *enrolltest.State) {
				s.Files["/srv/real"] = closed()
				s.Files["/srv/link"] = &enrolltest.File{Kind: enrolltest.Link, Target: "/srv/real", Owner: "root", Group: "root", Mode: 0o777}
			})
		}, outcome.StorageLink, "/srv/link is a symbolic link"},
		"/etc is read-only": {func(l *lab) {
			l.with("web-01", func(s *enrolltest.State) { s.ReadOnly = []string{"/etc"} })
		}, outcome.ReadOnly, "/etc is read-only"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			l := newLab(t, 2)
			l.with("web-01", func(s *enrolltest.State) {
				s.Files["/srv"] = &enrolltest.File{Kind: enrolltest.Dir, Mode: 0o755, Owner: "root", Group: "root"}
			})
			c.odd(l)
			l.with("web-02", func(s *enrolltest.State) { s.Down = true })
			report, _ := l.enroll()
			if r := report.Results[0]; r.Code != c.code || !strings.Contains(r.Message, c.says) {
				t.Errorf("%+v", r.Reason)
			}
			if w := l.writes(); len(w) > 0 {
				t.Errorf("it wrote %v", w)
			}
		})
	}
}
