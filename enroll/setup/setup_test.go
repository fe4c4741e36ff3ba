package setup

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"fleetctl/enroll/proxy"
	"fleetctl/enroll/tctl"
)

// files makes files in a new directory, "NAME" or "NAME=CONTENT"; those that end with a slash are directories.
func files(t *testing.T, names ...string) string {
	t.Helper()
	dir := t.TempDir()
	for _, n := range names {
		name, content, _ := strings.Cut(n, "=")
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if strings.HasSuffix(name, "/") {
			err := os.MkdirAll(path, 0o755)
			if err != nil {
				t.Fatal(err)
			}
			continue
		}
		if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func TestAnInventoryNearBy(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		files  []string
		want   string
		guess  bool
		others string
	}{
		"none":                       {files: []string{"playbook.yml", "fleet.db"}},
		"one file":                   {files: []string{"inventory.yaml", "inventory.md", "inventory.yaml.bak"}, want: "inventory.yaml"},
		"hosts, as in /etc/ansible":  {files: []string{"hosts", ".hosts.swp"}, want: "hosts"},
		"a directory":                {files: []string{"inventory/hosts"}, want: "inventory"},
		"a dynamic one":              {files: []string{"inventory.aws_ec2.yml"}, want: "inventory.aws_ec2.yml"},
		"two":                        {files: []string{"hosts.ini", "inventory.yaml"}, want: "inventory.yaml", guess: true, others: "hosts.ini"},
		"a directory of one":         {files: []string{"inventories/prod/hosts"}, want: "inventories/prod"},
		"a directory of one, shared": {files: []string{"inventories/prod.yml", "inventories/group_vars/all.yml"}, want: "inventories/prod.yml"},
		"a directory of several":     {files: []string{"inventories/prod/hosts", "inventories/staging/hosts"}, others: "inventories/prod inventories/staging"},
		"a file before a directory":  {files: []string{"hosts", "inventories/prod/hosts"}, want: "hosts"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := Look(t.Context(), Options{Dir: files(t, tt.files...)})
			if f.Inventory.Text != tt.want || f.Inventory.Guess != tt.guess || strings.Join(f.Others, " ") != tt.others {
				t.Errorf("%+v, %q", f.Inventory, f.Others)
			}
		})
	}
}

func TestAnsiblesOwnSettingsWin(t *testing.T) {
	t.Parallel()
	dir := files(t, "inventory.yaml", "ours/hosts")
	f := Look(t.Context(), Options{Dir: dir, Ansible: []string{filepath.Join(dir, "ours/hosts"), "/etc/hosts.d"}, AnsibleSource: "ansible.cfg:2"})
	if f.Inventory != (Value{Text: "ours/hosts", From: "ansible.cfg:2"}) || !slices.Equal(f.Others, []string{"/etc/hosts.d"}) {
		t.Errorf("%+v, %q", f.Inventory, f.Others)
	}
}

const tshProfile = "web_proxy_addr: %\nssh_proxy_addr: t.example.com:3023\nuser: me\ncluster: t\nprivate_key_policy: none\npiv_slot: \"\"\n"

func TestTheProfileOfTsh(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		current, profile, want string
	}{
		"logged in":            {"t.example.com\n", "t.example.com:3080", "t.example.com:3080"},
		"no profile":           {"", "t.example.com:3080", ""},
		"another profile":      {"u.example.com\n", "t.example.com:3080", ""},
		"a path":               {"../t.example.com\n", "t.example.com:3080", ""},
		"no port":              {"t.example.com\n", "t.example.com", ""},
		"something else":       {"t.example.com\n", "[1, 2]", ""},
		"not YAML":             {"t.example.com\n", "{", ""},
		"larger than any":      {"t.example.com\n", "t.example.com:3080 #" + strings.Repeat("x", maxProfile), ""},
		"a control character ": {"t.example.com\x1b\n", "t.example.com:3080", ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := files(t, "current-profile="+tt.current, "t.example.com.yaml="+strings.Replace(tshProfile, "%", tt.profile, 1))
			silent := func(context.Context, string) (proxy.Answer, error) { return proxy.Answer{}, errors.New("no route") }
			f := Look(t.Context(), Options{Dir: t.TempDir(), Tsh: dir, Ask: silent})
			if f.Proxy.Text != tt.want || f.Proxy.Guess || f.Proxy.Text != "" && f.Proxy.From != "the profile of tsh, "+filepath.Join(dir, "t.example.com.yaml") {
				t.Errorf("%+v", f.Proxy)
			}
		})
	}
}

// cluster is a tctl that is logged in.
func cluster(name string) *tctl.Tctl {
	return &tctl.Tctl{Runner: tctl.Func(func(context.Context, []byte, []string) (stdout, stderr []byte, code int) {
		return []byte("Cluster  " + name + "\nVersion  18.4.0\n"), nil, 0
	})}
}

func TestTheClusterOfTctlTellsItsProxy(t *testing.T) {
	t.Parallel()
	failed := &tctl.Tctl{Runner: tctl.Func(func(context.Context, []byte, []string) (stdout, stderr []byte, code int) {
		return nil, []byte("ERROR: expired"), 1
	})}
	for name, tt := range map[string]struct {
		tctl   *tctl.Tctl
		answer proxy.Answer
		err    error
		proxy  string
		name   string
	}{
		"a proxy answers there":         {tctl: cluster("t.example.com"), answer: proxy.Answer{Cluster: "t.example.com"}, proxy: "t.example.com:443", name: "t.example.com"},
		"nobody answers there":          {tctl: cluster("t.example.com"), err: errors.New("refused"), name: "t.example.com"},
		"another cluster answers there": {tctl: cluster("t.example.com"), answer: proxy.Answer{Cluster: "u"}, name: "t.example.com"},
		"its name is no host's":         {tctl: cluster("main"), name: "main"},
		"tctl is not logged in":         {tctl: failed},
		"there is no tctl":              {},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			ask := func(context.Context, string) (proxy.Answer, error) { return tt.answer, tt.err }
			f := Look(t.Context(), Options{Dir: t.TempDir(), Tctl: tt.tctl, Ask: ask})
			if f.Proxy.Text != tt.proxy || f.Proxy.Guess != (tt.proxy != "") || f.Cluster != tt.name || (f.TctlErr != nil) != (tt.tctl == failed) {
				t.Errorf("%+v", f)
			}
			if (tt.name != "") != (f.Version.String() == "18.4.0") || f.Tctl != (tt.name != "") {
				t.Errorf("%+v", f)
			}
		})
	}
}

func TestTshAndTctlInTwoClusters(t *testing.T) {
	t.Parallel()
	dir := files(t, "current-profile=t.example.com", "t.example.com.yaml="+strings.Replace(tshProfile, "%", "t.example.com:443", 1))
	ask := func(context.Context, string) (proxy.Answer, error) { return proxy.Answer{Cluster: "t"}, nil }
	f := Look(t.Context(), Options{Dir: t.TempDir(), Tsh: dir, Tctl: cluster("other"), Ask: ask})
	if !f.Proxy.Guess || !strings.HasSuffix(f.Proxy.From, ", which is a proxy of cluster t, while tctl speaks to other") {
		t.Errorf("%+v", f.Proxy)
	}
	if f = Look(t.Context(), Options{Dir: t.TempDir(), Tsh: dir, Ask: ask}); f.Proxy.Guess || f.Cluster != "t" {
		t.Errorf("without tctl: %+v", f)
	}
}

func TestTheDirectoryOfTsh(t *testing.T) {
	t.Setenv("HOME", "/home/me")
	for env, want := range map[string]string{"": "/home/me/.tsh", "/srv/tsh": "/srv/tsh"} {
		if got := TshHome(func(string) (string, bool) { return env, env != "" }); got != want {
			t.Errorf("%q: %s", env, got)
		}
	}
}

func TestPathsAreRelativeToTheFile(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	for source, want := range map[string]string{
		filepath.Join(dir, "a/b"): "a/b", filepath.Join(filepath.Dir(dir), "x"): filepath.Join(filepath.Dir(dir), "x"),
		"a,b,": "a,b,", "-": "-",
	} {
		if got := Relative(dir, source); got != want {
			t.Errorf("%s: %s, want %s", source, got, want)
		}
	}
}
