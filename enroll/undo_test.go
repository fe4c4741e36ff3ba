package enroll

import (
	"errors"
	"strings"
	"testing"
	"time"

	"fleetctl/enroll/enrolltest"
	"fleetctl/enroll/outcome"
)

// newest is the tbot of a second upgrade.
const newest = "18.6.2"

// TestAFailedUpgradeDoesNotGoBackTwoVersions: what an earlier upgrade left beside tbot is not what this one replaced.
func TestAFailedUpgradeDoesNotGoBackTwoVersions(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name string
		fail func(*lab)
		want string
	}{
		{"the file doesn't arrive", func(l *lab) {
			l.fromFile(newest)
			l.breaks(func(e enrolltest.Event) error {
				if e.What == "action" && strings.Contains(e.Text, "cat >") {
					return errors.New("sh: No space left on device")
				}
				return nil
			})
		}, "web-01 failed no-space"},
		{"the copy cannot be made", func(l *lab) {
			l.fromFile(newest)
			l.breaks(func(e enrolltest.Event) error {
				if e.What == "action" && strings.Contains(e.Text, `"$dest.previous"`) && !strings.Contains(e.Text, `if is "$dest"; then exit 0`) {
					return errors.New("cp: No space left on device")
				}
				return nil
			})
		}, "web-01 failed step-failed"},
		{"the new tbot does not join", func(l *lab) {
			l.fromFile(newest)
			l.Config.Tbot.Services = broken()
		}, "web-01 failed bad-config"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			l := newLab(t, 1)
			l.enrolled()
			l.fromFile(newer)
			l.enrolled() // 18.4.0 stays beside it
			starts := l.starts("web-01")
			tt.fail(l)
			report, err := l.enroll()
			l.check("second upgrade", report.Results, err, tt.want, outcome.ErrHostsFailed)
			if got := l.tbotOn("web-01"); got != newer {
				t.Errorf("tbot is %q after a failed upgrade of %s: %s", got, newer, report.Results[0].Message)
			}
			if replaced := tt.want == "web-01 failed bad-config"; !replaced && l.starts("web-01") != starts {
				t.Error("tbot was restarted, and nothing of it had been replaced")
			}
		})
	}
}

// starts is the number of tbot's newest process.
func (l *lab) starts(name string) (pid int) {
	l.with(name, func(s *enrolltest.State) { pid = s.Service.PID })
	return pid
}

// TestATbotThatIsNotTheOneThatWasThereDoesNotComeBack: its digest decides.
func TestATbotThatIsNotTheOneThatWasThereDoesNotComeBack(t *testing.T) {
	t.Parallel()
	l := newLab(t, 1)
	l.enrolled()
	l.fromFile(newer)
	l.Config.Tbot.Services = broken()
	l.breaks(func(e enrolltest.Event) error {
		if e.What == "verify" {
			l.with("web-01", func(s *enrolltest.State) {
				s.Files["/usr/local/bin/tbot.previous"].Content = enrolltest.Tbot("15.0.0")
			})
		}
		return nil
	})
	report, err := l.enroll()
	l.check("enroll", report.Results, err, "web-01 failed bad-config", outcome.ErrHostsFailed)
	if m := report.Results[0].Message; l.tbotOn("web-01") != newer || !strings.Contains(m, "rollback of tbot") {
		t.Errorf("tbot is %q: %s", l.tbotOn("web-01"), m)
	}
}

func TestARollbackHasATimeOfItsOwn(t *testing.T) {
	t.Parallel()
	l := newLab(t, 1)
	l.enrolled()
	before := l.file("web-01", "/etc/tbot.yaml")
	l.Config.Tbot.Services = []map[string]any{identityIn("/opt/machine-id/app")}
	l.breaks(func(e enrolltest.Event) error {
		if e.What == "verify" {
			return enrolltest.ErrHang
		}
		return nil
	})
	l.reach.Timeout = 500 * time.Millisecond
	report, err := l.enroll(func(o *EnrollOptions) { o.InstallOnly = true })
	l.check("enroll", report.Results, err, "web-01 unreachable timeout", outcome.ErrHostsFailed)
	if got := l.file("web-01", "/etc/tbot.yaml"); got != before || !strings.Contains(report.Results[0].Message, "the previous files are back") {
		t.Errorf("the configuration is not back: %s\n%s", report.Results[0].Message, got)
	}
}

// file is the content of a file of a host; "" for none.
func (l *lab) file(host, path string) (text string) {
	l.with(host, func(s *enrolltest.State) {
		if f := s.Files[path]; f != nil {
			text = string(f.Content)
		}
	})
	return text
}

// TestWhatCameNewGoesAgainInARollback: else the tbot that comes back runs with what it never had.
func TestWhatCameNewGoesAgainInARollback(t *testing.T) {
	t.Parallel()
	l := newLab(t, 1)
	no := false
	l.Config.Tbot.Hardening = &no
	l.enrolled()
	l.with("web-01", func(s *enrolltest.State) { s.Files["/etc/tbot.yaml"].Mode = 0o600 })
	files := func() string {
		_, tree, _ := strings.Cut(l.host["web-01"].Tree(), "/etc/tbot.yaml ")
		return strings.Split(tree, "\n")[0] + l.file("web-01", "/etc/systemd/system/tbot.service.d/10-fleetctl-hardening.conf")
	}
	before := files()
	l.Config.Tbot.Hardening = nil
	l.breaks(func(e enrolltest.Event) error {
		if e.What == "verify" {
			return errors.New("bash: fork: retry: Resource temporarily unavailable")
		}
		return nil
	})
	report, err := l.enroll()
	l.check("enroll", report.Results, err, "web-01 failed error", outcome.ErrHostsFailed)
	if got := files(); got != before {
		t.Errorf("%s\nis now\n%s", before, got)
	}
}
