package sshconfig

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
)

// need finds a program; it skips a test where that is not installed, or fails it in CI. It is remotetest.NeedPeer for
// tests inside the package, which remotetest imports.
func need(t testing.TB, program string) string {
	t.Helper()
	path, err := exec.LookPath(program)
	if err != nil && os.Getenv("CI") != "" {
		t.Fatalf("%s is not installed", program)
	}
	if err != nil {
		t.Skipf("%s is not installed", program)
	}
	return path
}

func configFile1(t testing.TB, name, content string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

var configCases = []struct {
	name   string
	config string
	asked  int // processes for 6 hosts, at most
}{
	{"an empty file", "", 1},
	{"blocks by pattern", "Host web*\n User w\n Port 2222\nHost db? !db2\n User d\nHost *\n User all\n", 4},
	{"HostName with %h", "Host web* db*\n HostName %h.internal.Example\n", 2},
	{"HostName without a token", "Host web1\n HostName 10.0.0.1\nHost *\n HostName fixed\n", 2},
	{"HostName with %% and =", "Host=web*\nHostName=\"a%%b.%h\"\n", 2},
	{"Match host and originalhost", "Host web1\n HostName db1\nMatch host db*\n User dbuser\nMatch originalhost web* user root\n Port 99\n", 6},
	{"Match exec without tokens", "Match exec \"true\"\n User yes\nMatch !exec true\n User no\n", 1},
	{"Match exec with %h", "Match exec \"test %h = web2\"\n User second\n", 6},
	{"Match final", "Host web*\n HostName x%h\nMatch final host xweb1\n User finally\nMatch final all\n Port 7\n", 4},
	{"UserKnownHostsFile with %h", "UserKnownHostsFile /tmp/known_%h\n", 6},
	{"IdentityAgent with %h", "IdentityAgent /tmp/agent_%h\n", 6},
	{"ProxyJump with tokens", "Host web*\n ProxyJump %r@jump:2200,second\nHost db*\n ProxyCommand nc %h %p\n", 3},
	{"quotes and comments", "Host \"web1\" web2 # web3\n User \"a b\"\n", 3},
	{"Match all and unknown case", "MATCH ALL\n USER x\n identityfile /a/%h\n", 1},
	{"CanonicalizeHostname", "CanonicalizeHostname yes\nCanonicalDomains example.invalid\nCanonicalizeFallbackLocal yes\n", 6},
}

func TestMemoisedAnswersEqualSSHs(t *testing.T) {
	t.Parallel()
	ssh := need(t, "ssh")
	hosts := []string{"web1", "web2", "WEB3", "db1", "db2", "other.example"}
	for _, tt := range configCases {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			cfg := configFile1(t, "config", tt.config)
			r := NewResolver("")
			for _, h := range hosts {
				got, err := r.Lookup(t.Context(), Query{Host: h, Args: sshArgs{Config: cfg}})
				if err != nil {
					t.Fatal(err)
				}
				out, err := exec.Command(ssh, "-G", "-F", cfg, "--", h).Output()
				if err != nil {
					t.Fatal(err)
				}
				want := parseValues(string(out))
				delete(want, "host")
				for k := range want {
					if k != "host" && !reflect.DeepEqual(got[k], want[k]) {
						t.Errorf("%s: %s is %q, ssh says %q", h, k, got[k], want[k])
					}
				}
			}
			if r.asked > tt.asked {
				t.Errorf("ssh was run %d times, want at most %d", r.asked, tt.asked)
			}
		})
	}
}

func TestIncludesAreFollowed(t *testing.T) {
	t.Parallel()
	need(t, "ssh")
	inner := configFile1(t, "inner", "Host web*\n User included\n")
	cfg := configFile1(t, "config", "Include "+inner+"\nHost db1\n Include "+inner+"\nHost *\n User outer\n")
	r := NewResolver("")
	for host, want := range map[string]string{"web1": "included", "db1": "outer", "x": "outer"} {
		got, err := r.Lookup(t.Context(), Query{Host: host, Args: sshArgs{Config: cfg}})
		if err != nil || got.First("user") != want {
			t.Errorf("%s: %q, %v", host, got.First("user"), err)
		}
	}
}

func TestTheFallbackAgreesWhereItCan(t *testing.T) {
	t.Parallel()
	need(t, "ssh")
	cfg := configFile1(t, "config", "Host web*\n User w\n Port 2222\n HostName %h.x\n IdentityFile /k1\n ProxyJump j\n"+
		"Host *\n User all\n IdentityFile /k2\n UserKnownHostsFile /kh\n ConnectTimeout 7\n")
	args, err := ParseArgs([]string{"-F", cfg, "-o", "IdentitiesOnly=yes", "-p", "99"})
	if err != nil {
		t.Fatal(err)
	}
	for _, host := range []string{"web1", "other"} {
		q := Query{Host: host, Args: args}
		with, err := NewResolver("").Lookup(t.Context(), q)
		if err != nil {
			t.Fatal(err)
		}
		without, err := NewResolver("none").Lookup(t.Context(), q)
		if err != nil {
			t.Fatal(err)
		}
		for _, key := range []string{
			"user", "port", "hostname", "identityfile", "proxyjump", "userknownhostsfile", "connecttimeout", "identitiesonly",
		} {
			if !reflect.DeepEqual(with[key], without[key]) {
				t.Errorf("%s: %s is %q with ssh, %q without", host, key, with[key], without[key])
			}
		}
	}
	bad := configFile1(t, "bad", "Match exec true\n User x\n")
	if _, err := NewResolver("none").Lookup(t.Context(), Query{Host: "h", Args: sshArgs{Config: bad}}); err == nil {
		t.Error("a Match that cannot be evaluated was ignored")
	}
}

func TestSSHArgumentsAreReadAsOpenSSHDoes(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		args   []string
		argv   string
		config string
		fails  bool
	}{
		{[]string{"-o", "User=x", "-oPort=2", "-J", "a,b", "-i", "/k", "-F", "/c", "-p22", "-l", "u"},
			"-o User=x -o Port=2 -J a,b -i /k -p 22 -l u", "/c", false},
		{[]string{"-CqvA4", "-tt", "-L", "1:h:2", "-oUser=y"}, "-o AddressFamily=inet -o User=y", "", false},
		{[]string{"-4qo", "User=z"}, "-o AddressFamily=inet -o User=z", "", false},
		{[]string{"host"}, "", "", true},
		{[]string{"-o"}, "", "", true},
		{[]string{"-Z"}, "", "", true},
		{[]string{"--"}, "", "", true},
	} {
		got, err := ParseArgs(tt.args)
		if (err != nil) != tt.fails || (err == nil && (strings.Join(got.argv, " ") != tt.argv || got.Config != tt.config)) {
			t.Errorf("%q: %q, %q, %v", tt.args, got.argv, got.Config, err)
		}
	}
}

func FuzzSSHConfig(f *testing.F) {
	for _, c := range configCases {
		f.Add(c.config, "web1")
	}
	f.Fuzz(func(t *testing.T, config, host string) {
		file := &configFile{content: []byte(config)}
		for _, raw := range strings.Split(config, "\n") {
			file.lines = append(file.lines, parseConfigLine(raw))
		}
		c := &sshConfig{files: []*configFile{file}}
		class := c.classify(Query{Host: host})
		_ = class.hostname(host)
	})
}

func FuzzSSHArgs(f *testing.F) {
	f.Add("-o\x00User=x\x00-J\x00a")
	f.Fuzz(func(_ *testing.T, s string) { _, _ = ParseArgs(strings.Split(s, "\x00")) })
}

// BenchmarkResolve10000 resolves 10,000 hosts of a usual configuration; one operation is all of them.
func BenchmarkResolve10000(b *testing.B) {
	need(b, "ssh")
	cfg := configFile1(b, "config", "Host web*\n User w\n HostName %h.internal\n ProxyJump jump\n"+
		"Host db*\n User d\nMatch host *.internal\n Port 2222\nMatch final all\n ServerAliveInterval 9\nHost *\n User x\n")
	for b.Loop() {
		r := NewResolver("")
		for i := range 10_000 {
			host := fmt.Sprintf("%s%d", []string{"web", "db", "x"}[i%3], i)
			if _, err := r.Lookup(b.Context(), Query{Host: host, Args: sshArgs{Config: cfg}}); err != nil {
				b.Fatal(err)
			}
		}
		b.ReportMetric(float64(r.asked), "processes")
	}
}
