package versions

import (
	"slices"
	"strings"
	"testing"
)

// v parses a version of a test; "" is the zero Version.
func v(t testing.TB, s string) Version {
	t.Helper()
	if s == "" {
		return Version{}
	}
	got, ok := Parse(s)
	if !ok {
		t.Fatalf("%q is no version", s)
	}
	return got
}

func TestVersionsAreRead(t *testing.T) {
	for _, c := range []struct{ in, text, release string }{
		{"17.2.1", "17.2.1", "17.2.1"},
		{"v17.2.1", "17.2.1", "17.2.1"},
		{"18.9.0-rc.2", "18.9.0-rc.2", "18.9.0"},
		{"19.0.0-dev", "19.0.0-dev", "19.0.0"},
		{"17.2.1+ent", "17.2.1+ent", "17.2.1"},
		{"17.2.1-beta.1+ent.07", "17.2.1-beta.1+ent.07", "17.2.1"},
		{"0.0.0", "0.0.0", "0.0.0"},
	} {
		got, ok := Parse(c.in)
		if !ok || got.String() != c.text || got.release().String() != c.release {
			t.Errorf("%s: %v %q, release %q", c.in, ok, got, got.release())
		}
	}
}

func TestWhatIsNoVersionIsRefused(t *testing.T) {
	for _, in := range []string{
		"", "v", "17", "17.2", "17.2.", "17.2.1.0", "017.2.1", "17.02.1", "17.2.x", "-1.2.3", "vv17.2.1", "17.2.1-", "17.2.1+",
		"17.2.1-rc..1", "17.2.1-rc.01", "17.2.1-ü", "17.2.1 ", "17.2.99999", "10.0.0.1", "17.2.1-" + strings.Repeat("a", 40),
	} {
		if got, ok := Parse(in); ok || !got.IsZero() {
			t.Errorf("%q is taken for version %q", in, got)
		}
	}
}

func TestTheVersionInWhatTbotPrintsIsFound(t *testing.T) {
	for _, c := range []struct{ out, want string }{
		{"Teleport v17.5.4 git:v17.5.4-0-g0123456 go1.23.10\n", "17.5.4"},
		{"Teleport Enterprise v18.4.0 git:v18.4.0-0-g0123456 go1.24.10\n", "18.4.0"},
		{"Teleport v19.0.0-dev git: go1.25.1", "19.0.0-dev"},
		{"WARN library 1.2.3 is old\nTeleport v15.3.0 git:v15.3.0-0-g0 go1.21.9\n", "15.3.0"},
		{"tbot 17.2.1, built by hand", "17.2.1"},
		{"2026-03-09T11:50:46.101Z listening on 127.0.0.1", ""},
		{"", ""},
	} {
		if got := FromOutput(c.out).String(); got != c.want {
			t.Errorf("%q: %q, not %q", c.out, got, c.want)
		}
	}
}

func TestVersionsHaveAnOrder(t *testing.T) {
	ascending := []string{
		"", "15.3.0", "15.4.9", "15.4.10", "16.0.0-alpha.1", "16.0.0", "17.0.0-dev", "17.0.0-rc.1", "17.0.0", "17.7.9", "17.7.10-1",
		"17.7.10-2", "17.7.10-10", "17.7.10-rc", "17.7.10-rc.1", "17.7.10-rc.2", "17.7.10-rc.10", "17.7.10-rc.10.1", "17.7.10",
		"18.0.0", "18.10.0",
	}
	for i, a := range ascending {
		for j, b := range ascending {
			want := min(1, max(-1, i-j))
			if got := v(t, a).Compare(v(t, b)); got != want {
				t.Errorf("%q against %q: %d, not %d", a, b, got, want)
			}
		}
	}
	if v(t, "17.2.1+ent").Compare(v(t, "17.2.1")) != 0 {
		t.Error("build metadata counts")
	}
}

func FuzzParse(f *testing.F) {
	for _, s := range []string{"17.2.1", "v18.9.0-rc.2", "19.0.0-dev", "17.2.1+ent", "1.2", ""} {
		f.Add(s, "17.7.10")
	}
	f.Fuzz(func(t *testing.T, a, b string) {
		x, ok := Parse(a)
		if again, ok2 := Parse(x.String()); ok && (!ok2 || again != x) {
			t.Fatalf("%q is not the same after it was written and read", a)
		}
		if ok == x.IsZero() {
			t.Fatalf("%q: ok is %v and the version is %q", a, ok, x)
		}
		if y, ok2 := Parse(b); ok && ok2 && x.Compare(y) != -y.Compare(x) {
			t.Fatalf("%s and %s have no order", x, y)
		}
		if got := FromOutput(a + " " + b); !got.IsZero() && !slices.Contains(strings.Fields(a+" "+b), got.String()) &&
			!strings.Contains(a+" "+b, got.String()) {
			t.Fatalf("%q is in neither %q nor %q", got, a, b)
		}
		for _, e := range entries {
			look(e.Capability, x)
		}
		Readyz(x)
		TTLKey(x)
	})
}

func TestTheVersionInAFilesNameIsFound(t *testing.T) {
	for name, want := range map[string]string{
		"teleport-ent_17.2.1_amd64.deb":                    "17.2.1",
		"teleport-ent-17.2.1-1.x86_64.rpm":                 "17.2.1",
		"teleport-ent-v18.0.0-rc.1-linux-amd64-bin.tar.gz": "18.0.0-rc.1",
		"teleport-v17.2.1-linux-arm64-bin.tar.gz":          "17.2.1",
		"tbot": "",
	} {
		if got := FromName(name).String(); got != want {
			t.Errorf("%s: got %q, want %q", name, got, want)
		}
	}
}
