package enroll

import (
	"errors"
	"strings"
	"testing"

	"fleetctl/enroll/outcome"
)

func pin(digits string) string { return "sha256:" + strings.Repeat(digits, 64/len(digits)) }

// everyCommand is each command that speaks to a cluster.
var everyCommand = map[string]func(l *lab) error{
	"tokens --diff":  func(l *lab) error { _, err := l.tokens(TokensOptions{Diff: true}); return err },
	"tokens --apply": func(l *lab) error { _, err := l.tokens(TokensOptions{Apply: true}); return err },
	"enroll":         func(l *lab) error { _, err := l.enroll(); return err },
	"enroll --check": func(l *lab) error { _, err := l.enroll(func(o *EnrollOptions) { o.Check = true }); return err },
	"enroll --install-only": func(l *lab) error {
		_, err := l.enroll(func(o *EnrollOptions) { o.InstallOnly = true })
		return err
	},
	"status":  func(l *lab) error { _, err := Status(l.t.Context(), l.Fleet, nil); return err },
	"remove":  func(l *lab) error { _, err := l.remove(RemoveOptions{Names: []string{"web-02"}}); return err },
	"recover": func(l *lab) error { _, err := Recover(l.t.Context(), l.Fleet, RecoverOptions{Out: l.out}); return err },
}

func TestAnotherClusterIsRefused(t *testing.T) {
	t.Parallel()
	for what, change := range map[string]func(l *lab){
		"another name":                        func(l *lab) { l.cluster.Name = "other.example.com" },
		"another name, the same CAs":          func(l *lab) { l.cluster.Name = "copy.example.com" },
		"the same name, other CAs":            func(l *lab) { l.cluster.Pins = []string{pin("ef"), pin("01")} },
		"no name that is read, and other CAs": func(l *lab) { l.cluster.Name, l.cluster.Pins = "", []string{pin("ef")} },
	} {
		for name, run := range everyCommand {
			t.Run(what+"/"+name, func(t *testing.T) {
				t.Parallel()
				l := newLab(t, 2)
				l.enrolled()
				if bound, err := l.Store.Bound(t.Context()); err != nil || len(bound.Pins) != 1 || bound.Cluster != "example.com" {
					t.Fatalf("%+v, %v", bound, err)
				}
				change(l)
				before := len(l.cluster.Commands())
				if err := run(l); !errors.Is(err, outcome.ErrInput) {
					t.Errorf("%v", err)
				}
				for _, verb := range l.asked(before) {
					if verb != "status" {
						t.Errorf("it was asked to %s", verb)
					}
				}
			})
		}
	}
}

func TestCAsOfAClusterAreRotated(t *testing.T) {
	t.Parallel()
	l := newLab(t, 1)
	l.enrolled()
	first := l.cluster.Pins[0]
	l.cluster.Pins = []string{pin("ef"), first}
	if _, err := l.tokens(TokensOptions{Diff: true}); err != nil {
		t.Fatal(err)
	}
	if notes := heard[PinsRotated](l); len(notes) != 1 || len(notes[0].Now) != 2 {
		t.Errorf("%+v", notes)
	}
	l.cluster.Pins = []string{pin("ef")}
	if _, err := l.tokens(TokensOptions{Diff: true}); err != nil || len(heard[PinsRotated](l)) != 2 {
		t.Errorf("the old one is gone: %v", err)
	}
	l.cluster.Pins = []string{first} // a whole rotation that nobody saw
	if _, err := l.tokens(TokensOptions{Diff: true}); !errors.Is(err, ErrPins) {
		t.Errorf("%v", err)
	}
	if _, err := l.tokens(TokensOptions{Diff: true, AcceptPolicy: true}); err != nil {
		t.Errorf("a person's word: %v", err)
	}
	if _, err := l.tokens(TokensOptions{Diff: true}); err != nil {
		t.Errorf("it is remembered: %v", err)
	}
}

// What can't be read is not silently skipped: it is said, and exit code 3.
func TestAClusterWithoutANameIsNotVerified(t *testing.T) {
	t.Parallel()
	for name, run := range everyCommand {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			l := newLab(t, 2)
			l.enrolled()
			l.cluster.Name, l.cluster.Pins = "", nil
			l.heard.forget()
			if err := run(l); !errors.Is(err, outcome.ErrHostsFailed) {
				t.Errorf("%v", err)
			}
			if notes := heard[ClusterSilent](l); len(notes) == 0 || notes[0].About != AboutCluster {
				t.Errorf("%+v", notes)
			}
		})
	}
	t.Run("its CA tells it", func(t *testing.T) {
		t.Parallel()
		l := newLab(t, 1)
		l.enrolled()
		l.cluster.Name = ""
		if _, err := l.tokens(TokensOptions{Apply: true}); err != nil {
			t.Error(err)
		}
	})
}

func TestWhichClusterTctlSpeaksTo(t *testing.T) {
	t.Parallel()
	l := newLab(t, 1)
	l.cluster.Pins = []string{pin("ef"), pin("ab"), pin("ef")}
	c, err := l.Cluster.Cluster(t.Context())
	if err != nil || c.Name != "example.com" || strings.Join(c.Pins, " ") != pin("ab")+" "+pin("ef") {
		t.Errorf("%+v, %v", c, err)
	}
}
