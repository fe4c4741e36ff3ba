package page

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"html"
	"regexp"
	"strings"
	"testing"
	"time"

	"fleetctl/enroll/report"
	"fleetctl/enroll/store"
)

// empty is the report on a fleet without hosts.
func empty() report.Report {
	return report.Report{
		At: time.Unix(0, 0), Fleet: "test", Hosts: func(func(report.Host, error) bool) {}, Log: func(func(store.Entry, error) bool) {},
	}
}

func TestThePolicyAllowsTheStyleAndTheScriptAsTheyStand(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	if err := Write(&out, empty()); err != nil {
		t.Fatal(err)
	}
	policy := html.UnescapeString(regexp.MustCompile(`Content-Security-Policy" content="([^"]+)"`).FindStringSubmatch(out.String())[1])
	elements := regexp.MustCompile(`(?s)<(style|script)>(.*?)</`).FindAllStringSubmatch(out.String(), -1)
	if len(elements) != 3 {
		t.Fatalf("%d styles and scripts", len(elements))
	}
	for _, e := range elements {
		sum := sha256.Sum256([]byte(e[2]))
		_, sources, _ := strings.Cut(policy, e[1]+"-src ")
		sources, _, _ = strings.Cut(sources, ";")
		if want := "'sha256-" + base64.StdEncoding.EncodeToString(sum[:]) + "'"; len(e[2]) < 50 || !strings.Contains(sources, want) {
			t.Errorf("%s-src %s lacks %s", e[1], sources, want)
		}
	}
	if !strings.HasPrefix(policy, "default-src 'none'; ") || strings.Contains(policy, "unsafe") {
		t.Errorf("the policy is %q", policy)
	}
}

func TestAPageThatIsNotWholeDoesNotSayThatItIs(t *testing.T) {
	t.Parallel()
	broken := errors.New("records are damaged")
	r := empty()
	r.Hosts = func(yield func(report.Host, error) bool) { yield(report.Host{}, broken) }
	var out bytes.Buffer
	if err := Write(&out, r); !errors.Is(err, broken) || err.Error() != broken.Error() {
		t.Errorf("the error is %v", err)
	}
	if strings.Contains(out.String(), "End of the report") {
		t.Error("the page says that it is whole")
	}
}

func TestAnEmptyFleetHasAPage(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	if err := Write(&out, empty()); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		"Nothing. Every host is as the records want it.", "No host has been identified yet.", "No host has an EK certificate.",
		"There has been no run yet.", "Nobody has changed anything by hand.", "There are none.", "None in these 0 months.", "End of the report on fleet test",
	} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("the page lacks %q", want)
		}
	}
}

func TestNumbers(t *testing.T) {
	t.Parallel()
	for n, want := range map[int]string{0: "0", 7: "7", 999: "999", 1000: "1,000", 20002: "20,002", 1234567: "1,234,567", -1000: "-1,000", -100: "-100"} {
		if got := number(n); got != want {
			t.Errorf("%d is written %s, want %s", n, got, want)
		}
	}
}

func TestTicksHoldWhatTheyShow(t *testing.T) {
	t.Parallel()
	for top := range 3000 {
		all := ticks(top)
		last := all[len(all)-1]
		if len(all) < 2 || len(all) > 6 || last.Value < top || last.Value == 0 || all[0].Y != plotBottom || last.Y != plotTop {
			t.Fatalf("%d hosts have the ticks %v", top, all)
		}
	}
}

func TestALineNeverGoesBack(t *testing.T) {
	t.Parallel()
	now := time.Unix(100, 0)
	l := newLine([]report.Point{{At: time.Unix(0, 0), Hosts: 1}, {At: time.Unix(50, 0), Hosts: 2}, {At: time.Unix(20, 0), Hosts: 5}, {At: time.Unix(500, 0), Hosts: 10}}, now)
	if want := "M54 150H54.0V136.8H382.0V123.6H382.0V84.0H710.0V18.0H710"; l.Path != want {
		t.Errorf("the line is %s, want %s", l.Path, want)
	}
}
