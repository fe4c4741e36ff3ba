package enroll

import (
	"slices"
	"strings"
	"testing"
	"time"

	"fleetctl/enroll/enrolltest/memcluster"
)

// opens are the rules that somebody should look at: "web-01 fleet orphan".
func (l *lab) opens() string {
	l.t.Helper()
	rules, err := OpenRules(l.t.Context(), l.Fleet)
	if err != nil {
		l.t.Fatal(err)
	}
	return openText(rules)
}

func openText(rules []OpenRule) string {
	var out []string
	for _, r := range rules {
		text := r.Host + " " + r.Token
		if r.Orphan {
			text += " orphan"
		}
		if r.Stale {
			text += " stale"
		}
		out = append(out, text)
	}
	return strings.Join(out, ", ")
}

// in40Days sets the controller's clock 40 days ahead.
func (l *lab) in40Days() { l.Now = func() time.Time { return time.Now().AddDate(0, 0, 40) } }

func TestHostsThatLeftTheInventoryAreNamed(t *testing.T) {
	t.Parallel()
	l := newLab(t, 3)
	l.enrolled()
	l.drop("web-03")
	const want = "web-03 fleet orphan"
	if got := l.opens(); got != want {
		t.Errorf("the records say %q", got)
	}
	for name, run := range map[string]func() error{
		"scan":   func() error { _, err := l.scan(); return err },
		"tokens": func() error { _, err := l.tokens(TokensOptions{}); return err },
		"enroll": func() error { _, err := l.enroll(); return err },
	} {
		l.heard.forget()
		if err := run(); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if notes := heard[RulesOpen](l); len(notes) != 1 || openText(notes[0].Rules) != want {
			t.Errorf("%s: %+v", name, notes)
		}
	}
	if report, _ := Status(t.Context(), l.Fleet, nil); openText(report.Rules) != want {
		t.Errorf("status: %+v", report.Rules)
	}
	l.wantIn("nothing goes by itself", "web-01: fleet; web-02: fleet", "fleet")
	if l.admits("web-03", "fleet") == "" {
		t.Error("the rule of web-03 is gone")
	}
	if _, err := l.remove(RemoveOptions{Names: []string{"web-03"}, Offline: true}); err != nil || l.opens() != "" || l.admits("web-03", "fleet") != "" {
		t.Errorf("removed, as the note says: %v, %s", err, l.opens())
	}
}

func TestKeptRulesOfHostsThatDoNotJoinAreNamed(t *testing.T) {
	t.Parallel()
	l := newLab(t, 3)
	l.choose("web-01", "web-02")
	l.enrolled()
	l.choose("web-01", "web-02", "web-03")
	if _, err := l.scan(); err != nil {
		t.Fatal(err)
	}
	if _, err := l.tokens(TokensOptions{Apply: true}); err != nil { // web-03 is somebody else's to install, and never joins
		t.Fatal(err)
	}
	l.Config.Token.Name = "prod"
	if _, err := l.tokens(TokensOptions{Apply: true, AcceptPolicy: true}); err != nil {
		t.Fatal(err)
	}
	if got := l.opens(); got != "" {
		t.Errorf("too early: %s", got)
	}
	l.in40Days()
	const want = "web-01 fleet stale, web-02 fleet stale, web-03 fleet stale"
	if got := l.opens(); got != want {
		t.Errorf("after 40 days: %q", got)
	}
	l.heard.forget()
	if _, err := l.tokens(TokensOptions{Apply: true}); err != nil {
		t.Error(err)
	}
	if notes := heard[RulesOpen](l); len(notes) != 1 || openText(notes[0].Rules) != want {
		t.Errorf("tokens: %+v", notes)
	}

	// A join that the cluster tells of just now counts in status, without a write.
	l.cluster.Now = l.Now
	if err := l.cluster.Join(memcluster.JoinRequest{Host: "web-01", EKHash: l.host["web-01"].TPM.EKHash(), Token: "fleet", Tbot: tbotHere}); err != nil {
		t.Fatal(err)
	}
	if report, _ := Status(t.Context(), l.Fleet, nil); openText(report.Rules) != "web-02 fleet stale, web-03 fleet stale" {
		t.Errorf("status: %+v", report.Rules)
	}
	for _, host := range []string{"web-01", "web-02", "web-03"} {
		if !slices.Contains(strings.Fields(l.admits(host, "fleet", "prod")), "fleet") {
			t.Errorf("%s lost its rule by the clock", host)
		}
	}
}
