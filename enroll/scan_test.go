package enroll

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"

	"fleetctl/enroll/config"
	"fleetctl/enroll/enrolltest"
	"fleetctl/enroll/outcome"
	"fleetctl/enroll/scan"
	"fleetctl/remote/remotetest"
)

func TestScanAsksHostsInEveryWay(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name   string
		change func(*lab, *ScanOptions)
		via    string
		proven bool
		code   outcome.Code // of the only warning; "" for none
	}{
		{name: "the helper is pushed, and the TPM proves its key", via: scan.ViaHelper, proven: true},
		{name: "without a proof the identity is unproven", change: func(_ *lab, o *ScanOptions) { o.Proof = false }, via: scan.ViaHelper},
		{name: "the helper may stay for the next scan", change: func(_ *lab, o *ScanOptions) { o.KeepHelper = true }, via: scan.ViaHelper, proven: true},
		{name: "TPM commands go through the shell", change: func(_ *lab, o *ScanOptions) { o.Via = scan.ViaShell }, via: scan.ViaShell, proven: true},
		{name: "the tbot of the host is taken at its word", change: func(_ *lab, o *ScanOptions) { o.Via = scan.ViaTbot }, via: scan.ViaTbot},
		{name: "tbot agrees with the helper", change: func(_ *lab, o *ScanOptions) { o.Compare = true }, via: scan.ViaHelper, proven: true},
		{name: "without a tbot there is nothing to compare with", change: func(l *lab, o *ScanOptions) {
			o.Compare = true
			l.with("web-01", func(s *enrolltest.State) { delete(s.Files, "/usr/local/bin/tbot") })
		}, via: scan.ViaHelper, proven: true},
		{name: "where nothing may execute it is the shell", change: func(l *lab, _ *ScanOptions) {
			l.with("web-01", func(s *enrolltest.State) { s.NoExec = true })
		}, via: scan.ViaShell, proven: true, code: outcome.AskedThroughShell},
		{name: "where there is no helper for the architecture it is the shell", change: func(l *lab, _ *ScanOptions) {
			l.with("web-01", func(s *enrolltest.State) { s.Arch = "mips64" })
		}, via: scan.ViaShell, proven: true, code: outcome.AskedThroughShell},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			l := newLab(t, 1)
			before := l.trees()
			report, err := l.scan(func(o *ScanOptions) {
				if tt.change != nil {
					tt.change(l, o)
				}
				before = l.trees()
			})
			l.check("scan", report.Results, err, "web-01 ok", nil)
			id, want := l.record("web-01").Accepted, l.host["web-01"].TPM.EKHash()
			if id == nil || id.EKHash != want || id.Via != tt.via || id.Proven != tt.proven {
				t.Errorf("recorded %+v, want %s via %s, proven %v", id, want, tt.via, tt.proven)
			}
			r := report.Results[0]
			if r.EKHash != want || r.Proven != tt.proven || r.Took <= 0 {
				t.Errorf("result %+v", r)
			}
			if codes := warnings(r); tt.code == "" && len(codes) > 0 || tt.code != "" && !slices.Equal(codes, []outcome.Code{tt.code}) {
				t.Errorf("warnings %v, want %q", codes, tt.code)
			}
			if after := l.trees(); after != before {
				t.Errorf("the scan left something:\n%s\nbefore:\n%s", after, before)
			}
			if got, want := strings.Join(l.heard.stages, ", "), "scan 1, end"; got != want || len(l.heard.results) != 1 {
				t.Errorf("the watcher heard %s and %s", got, told(l.heard.results))
			}
			if got := l.runs(); got != "scan done" {
				t.Errorf("runs: %s", got)
			}
		})
	}
}

func TestScanNamesWhatIsWrongWithAHost(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name   string
		change func(l *lab)
		want   string
	}{
		{"a host that is down is unreachable", func(l *lab) {
			l.with("web-01", func(s *enrolltest.State) { s.Down = true })
		}, "unreachable disconnected"},
		{"a user whom the host does not let in", func(l *lab) {
			l.set("web-01", "ansible_user", "nobody-here")
		}, "unreachable auth-failed"},
		{"a host that shows another host key", func(l *lab) {
			l.rekey("web-01", "web-02")
		}, "unreachable host-key-changed"},
		{"a wrong sudo password", func(l *lab) {
			l.with("web-01", func(s *enrolltest.State) { s.Sudo = remotetest.Sudo{Password: "right"} })
			l.reach.Become.Password = "wrong"
		}, "failed become-failed"},
		{"a sudo password that nobody gave", func(l *lab) {
			l.with("web-01", func(s *enrolltest.State) { s.Sudo = remotetest.Sudo{Password: "right"} })
		}, "failed become-failed"},
		{"no sudo at all", func(l *lab) {
			l.with("web-01", func(s *enrolltest.State) { s.Sudo = remotetest.Sudo{Denied: true} })
		}, "failed become-failed"},
		{"no TPM", func(l *lab) {
			l.with("web-01", func(s *enrolltest.State) { delete(s.Files, s.Device); s.Sysfs = false })
		}, "failed no-tpm"},
		{"a TPM 1.2", func(l *lab) {
			l.with("web-01", func(s *enrolltest.State) { s.TPM12 = true })
		}, "failed tpm-1.2"},
		{"a TPM that shows a key which it does not have", func(l *lab) {
			l.host["web-01"].TPM.Claims = newTPM(l.t, 40)
		}, "failed unproven"},
		{"a login user who may not open the TPM, where become is forbidden", func(l *lab) {
			l.set("web-01", "ansible_become", false)
		}, "failed tpm-permission"},
		{"a connection that ends while the TPM is asked", func(l *lab) {
			l.breaks(func(e enrolltest.Event) error {
				if e.Host == "web-01" && e.Kind == "payload" {
					return enrolltest.ErrDrop
				}
				return nil
			})
		}, "unreachable disconnected"},
		{"a variable that cannot be read", func(l *lab) { l.set("web-01", "fleetctl_same_as", 7) }, "failed inventory-error"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			l := newLab(t, 2)
			tt.change(l)
			report, err := l.scan()
			l.check("scan", report.Results, err, "web-01 "+tt.want+", web-02 ok", outcome.ErrHostsFailed)
			rec := l.record("web-01")
			if rec.Accepted != nil || rec.Last == nil || string(report.Results[0].Code) != rec.Last.Status {
				t.Errorf("record: %+v, last %+v", rec, rec.Last)
			}
			if l.record("web-02").Accepted == nil {
				t.Error("the other host suffered")
			}
			if got := l.runs(); got != "scan done" {
				t.Errorf("runs: %s", got)
			}
		})
	}
}

func TestAnEKThatChangedWaits(t *testing.T) {
	t.Parallel()
	l := newLab(t, 1)
	old := l.host["web-01"].TPM.EKHash()
	if _, err := l.scan(); err != nil {
		t.Fatal(err)
	}
	l.host["web-01"].TPM = newTPM(t, 9)
	report, err := l.scan()
	l.check("scan", report.Results, err, "web-01 failed changed-ek", outcome.ErrHostsFailed)
	rec := l.record("web-01")
	if rec.Accepted.EKHash != old || rec.Pending == nil || rec.Pending.EKHash != l.host["web-01"].TPM.EKHash() {
		t.Errorf("accepted %+v, pending %+v", rec.Accepted, rec.Pending)
	}
}

func TestTwoHostsWithOneTPMAreRefusedWhenAllHaveBeenSeen(t *testing.T) {
	t.Parallel()
	l := newLab(t, 3)
	l.host["web-03"].TPM = newTPM(t, 1)
	report, err := l.scan()
	l.check("scan", report.Results, err, "web-01 failed duplicate-ek, web-02 ok, web-03 failed duplicate-ek", outcome.ErrHostsFailed)
	var refused []outcome.Result
	for _, n := range heard[HostRefused](l) {
		refused = append(refused, n.Result)
	}
	if got, want := told(refused), "web-01 failed duplicate-ek, web-03 failed duplicate-ek"; got != want {
		t.Errorf("notes: %s, want %s", got, want)
	}
	for _, r := range l.heard.results {
		if r.Outcome != outcome.OK {
			t.Errorf("the watcher heard of %s before all hosts had been seen: %s", r.Host, r.Code)
		}
	}
}

func TestTheHostThatHasARuleKeepsItWhenAnotherPresentsItsEK(t *testing.T) {
	t.Parallel()
	l := newLab(t, 2)
	l.choose("web-01")
	if _, err := l.scan(); err != nil {
		t.Fatal(err)
	}
	if _, err := l.tokens(TokensOptions{Apply: true}); err != nil {
		t.Fatal(err)
	}
	l.host["web-02"].TPM = newTPM(t, 1)
	l.choose("web-01", "web-02")
	report, err := l.scan()
	l.check("scan", report.Results, err, "web-01 ok, web-02 failed duplicate-ek", outcome.ErrHostsFailed)
	if w := report.Results[0].Warnings; len(w) != 1 || w[0].Code != outcome.DuplicateEK || !strings.Contains(w[0].Message, "one of them is a copy") {
		t.Errorf("warnings: %+v", w)
	}
	if w := heard[HostWarned](l); len(w) != 1 || w[0].Host != "web-01" {
		t.Errorf("notes: %+v", w)
	}
	if !strings.Contains(report.Results[1].Message, "web-01 had it first and keeps its rule in token fleet") {
		t.Errorf("message: %s", report.Results[1].Message)
	}
	made, err := l.tokens(TokensOptions{})
	if made.Set.TokenOf("web-01") != "fleet" || made.Set.TokenOf("web-02") != "" || !errors.Is(err, outcome.ErrHostsFailed) {
		t.Errorf("tokens %v, %v", made.Set.Assignment(), err)
	}
}

func TestAScanThatWasCanceledIsResumed(t *testing.T) {
	t.Parallel()
	l := newLab(t, 4)
	l.reach.Forks = 1
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	l.heard.onHost = func(r outcome.Result) {
		if r.Host == "web-02" {
			cancel()
		}
	}
	report, err := Scan(ctx, l.Fleet, ScanOptions{Ask: l.ask()})
	l.check("first scan", report.Results, err,
		"web-01 ok, web-02 ok, web-03 canceled canceled, web-04 canceled canceled", context.Canceled)
	l.heard.onHost = nil
	l.heard.forget()
	again, err := l.scan(func(o *ScanOptions) { o.Resume = true })
	l.check("resumed scan", again.Results, err, "web-03 ok, web-04 ok", nil)
	if again.Run != report.Run {
		t.Errorf("run %d went on as %d", report.Run, again.Run)
	}
	if got := l.runs(); got != "scan done" {
		t.Errorf("runs: %s", got)
	}
	third, err := l.scan(func(o *ScanOptions) { o.Resume = true })
	l.check("nothing left", third.Results, err, "", nil)
	if notes := heard[NothingLeft](l); len(notes) != 1 || notes[0].Command != "scan" {
		t.Errorf("notes: %+v", notes)
	}
}

func TestOnlyHostsThatFailedAreTriedAgain(t *testing.T) {
	t.Parallel()
	l := newLab(t, 3)
	l.with("web-01", func(s *enrolltest.State) { s.Down = true })
	l.with("web-03", func(s *enrolltest.State) { s.TPM12 = true })
	first, err := l.scan()
	l.check("first scan", first.Results, err, "web-01 unreachable disconnected, web-02 ok, web-03 failed tpm-1.2", outcome.ErrHostsFailed)
	l.with("web-01", func(s *enrolltest.State) { s.Down = false })
	second, err := l.scan(func(o *ScanOptions) { o.RetryFailed = true })
	l.check("second scan", second.Results, err, "web-01 ok, web-03 failed tpm-1.2", outcome.ErrHostsFailed)
	if second.Run == first.Run {
		t.Error("it is no run of its own")
	}
	if _, err := l.scan(func(o *ScanOptions) { o.RetryFailed, o.Resume = true, true }); !errors.Is(err, outcome.ErrInput) {
		t.Errorf("both at once: %v", err)
	}
}

func TestAScanGoesOnWithNothingThatIsNotThere(t *testing.T) {
	t.Parallel()
	l := newLab(t, 1)
	if _, err := l.scan(func(o *ScanOptions) { o.Resume = true }); !errors.Is(err, outcome.ErrInput) {
		t.Errorf("without an earlier scan: %v", err)
	}
	l.Access = refuseAccess
	if _, err := l.scan(); !errors.Is(err, errNoAccess) {
		t.Errorf("without access: %v", err)
	}
	if got := l.runs(); got != "" {
		t.Errorf("runs: %s", got)
	}
}

func TestRecordsThatFailEndAScan(t *testing.T) {
	t.Parallel()
	l := newLab(t, 3)
	l.reach.Forks = 1
	healthy := l.Store
	l.sick(func(call string) error {
		if call == "put web-02" {
			return errSick
		}
		return nil
	})
	report, err := l.scan()
	l.check("scan", report.Results, err, "web-01 ok, web-02 failed not-recorded, web-03 canceled canceled", errSick)
	if errors.Is(err, outcome.ErrHostsFailed) {
		t.Errorf("%v counts as a failure of hosts", err)
	}
	if got := l.runs(); got != "scan failed" {
		t.Errorf("runs: %s", got)
	}
	l.Store = healthy
	again, err := l.scan(func(o *ScanOptions) { o.Resume = true })
	l.check("resumed scan", again.Results, err, "web-02 ok, web-03 ok", nil)
	l.sick(func(call string) error {
		if strings.HasPrefix(call, "runs") {
			return errSick
		}
		return nil
	})
	if _, err := l.scan(func(o *ScanOptions) { o.Resume = true }); !errors.Is(err, errSick) {
		t.Errorf("runs that cannot be read: %v", err)
	}
	l.sick(func(call string) error { return errSick })
	if _, err := l.scan(); !errors.Is(err, errSick) {
		t.Errorf("a run that cannot begin: %v", err)
	}
}

func TestCertificatesAreJudgedByTheAuthoritiesOfFleetYAML(t *testing.T) {
	t.Parallel()
	l := newLab(t, 2)
	l.certify("web-01")
	report, err := l.scan()
	l.check("with hash-only tokens", report.Results, err, "web-01 ok, web-02 ok", nil)
	if r := report.Results[1]; len(r.Warnings) == 0 || r.Warnings[0].Fatal {
		t.Errorf("without a certificate: %+v", r.Warnings)
	}
	if got := report.Results[0].Serial; got != "10:01" {
		t.Errorf("serial %q", got)
	}
	if notes := heard[CAsLeftOut](l); len(notes) != 1 || notes[0].Used != 1 || len(notes[0].Left) != 1 {
		t.Errorf("what could not be used of the file: %+v", notes)
	}
	l.Config.Token.WithoutEKCert = config.Refuse
	report, err = l.scan()
	if err != nil || len(report.Results[1].Warnings) == 0 || !report.Results[1].Warnings[0].Fatal {
		t.Errorf("with refuse: %+v, %v", report.Results[1].Warnings, err)
	}
	l.Config.Token.EKCertCAs = []string{l.out + "/missing.pem"}
	if _, err := l.scan(); !errors.Is(err, outcome.ErrInput) || !strings.Contains(err.Error(), "token.ekcert_cas") {
		t.Errorf("with a file that is missing: %v", err)
	}
}

// Hosts whose answer is refused have failed, too.
func TestHostsInDisputeAreTriedAgain(t *testing.T) {
	t.Parallel()
	l := newLab(t, 4)
	if _, err := l.scan(); err != nil {
		t.Fatal(err)
	}
	l.host["web-02"].TPM = newTPM(t, 9)         // another board
	l.host["web-04"].TPM = l.host["web-03"].TPM // a clone
	if _, err := l.scan(); !errors.Is(err, outcome.ErrHostsFailed) {
		t.Fatal(err)
	}
	again, err := l.scan(func(o *ScanOptions) { o.RetryFailed = true })
	if err != nil && !errors.Is(err, outcome.ErrHostsFailed) {
		t.Fatal(err)
	}
	var got []string
	for _, r := range again.Results {
		got = append(got, r.Host)
	}
	if strings.Join(got, " ") != "web-02 web-03 web-04" {
		t.Errorf("tried again: %v", got)
	}
}
