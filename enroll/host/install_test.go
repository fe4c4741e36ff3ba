package host

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"fleetctl/enroll/config"
	"fleetctl/enroll/enrolltest"
	"fleetctl/enroll/outcome"
	"fleetctl/inventory"
)

// fakeTbot is a tbot that only knows its version.
func fakeTbot(version string) string {
	return "#!/bin/sh\necho \"Teleport v" + version + " git:v" + version + "-0-g1 go1.23.4\"\n"
}

// tarball is a release as Teleport packs it.
func tarball(t *testing.T, version string) []byte {
	t.Helper()
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	w := tar.NewWriter(z)
	for name, content := range map[string]string{
		"teleport-ent/VERSION": "v" + version + "\n", "teleport-ent/tbot": fakeTbot(version), "teleport-ent/tctl": "#!/bin/sh\n",
	} {
		if err := w.WriteHeader(&tar.Header{Name: name, Mode: 0o755, Size: int64(len(content)), Typeflag: tar.TypeReg}); err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(w, content); err != nil {
			t.Fatal(err)
		}
	}
	if err := errors.Join(w.Close(), z.Close()); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func inFile(t *testing.T, name string, content []byte) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, content, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// installed runs the installation step of a plan, then plans anew.
func install(t *testing.T, c *enrolltest.Chroot, d Desired) (first, second Step) {
	t.Helper()
	first = Plan(gather(t, c, d), d)[0]
	if first.Name != "tbot" || !first.installs {
		t.Fatalf("no installation: %+v", first)
	}
	if _, err := Apply(t.Context(), c, Steps{first}, ApplyOptions{}); err != nil {
		t.Fatal(err)
	}
	return first, Plan(gather(t, c, d), d)[0]
}

func prepared(t *testing.T, in config.Install, client *http.Client) *Installer {
	t.Helper()
	out, err := Prepare(t.Context(), client, t.TempDir(), in, config.Cluster{ProxyServer: "teleport.example.com:443"})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func installing(t *testing.T, in *Installer) Desired {
	t.Helper()
	d := testDesired(t, enrolltest.Config(), inventory.Host{Name: "web-01"})
	return d.Installing(in)
}

func TestInstallFromATarballPushesTbotAlone(t *testing.T) {
	t.Parallel()
	c := enrolltest.NewChroot(t)
	in := prepared(t, config.Install{From: "file", Files: map[string]string{"amd64": inFile(t, "t.tar.gz", tarball(t, "18.1.0")),
		"arm64": inFile(t, "t.tar.gz", tarball(t, "18.1.0"))}}, nil)
	if in.version.String() != "18.1.0" {
		t.Errorf("version %q, want the tarball's", in.version)
	}
	first, second := install(t, c, installing(t, in))
	if second.Changes() || second.problem != nil {
		t.Errorf("second plan: %+v", second)
	}
	if got := c.Sh("tbot version; tbot.previous version 2>/dev/null || /usr/local/bin/tbot.previous version; stat -c '%a %U' /usr/local/bin/tbot; ls /usr/local/bin | grep -c fleetctl || :"); !strings.HasPrefix(got,
		"Teleport v18.1.0") || !strings.Contains(got, "Teleport v17.2.1") || !strings.HasSuffix(got, "755 root\n0") {
		t.Errorf("on the host: %s", got)
	}
	for _, a := range first.undo {
		if err := applyAction(t.Context(), c, a, 0); err != nil {
			t.Fatal(err)
		}
	}
	if got := c.Sh("tbot version"); !strings.HasPrefix(got, "Teleport v17.2.1") {
		t.Errorf("after the rollback: %s", got)
	}
}

// TestAPlanThatInstallsJudgesServicesByTheNewTbot: what the old one would refuse is no problem.
func TestAPlanThatInstallsJudgesServicesByTheNewTbot(t *testing.T) {
	for installs, want := range map[string]bool{"18.2.0": false, "17.2.2": true} {
		d := planCase{config: func(c *config.Config) { c.Tbot.Services = []map[string]any{{"type": "kubernetes/argo-cd"}} }}.desired(t)
		d = d.Installing(&Installer{from: installURL, version: version(installs), byArch: map[string]*release{
			"amd64": {kind: kindTarball, url: "https://m/x.tar.gz", sha256: strings.Repeat("a", 64)}}})
		if bad := Plan(debian(), d).Problems(); (len(bad) > 0) != want {
			t.Errorf("%s: %+v", installs, bad)
		}
	}
}

func TestPushGoesOnWhereItStopped(t *testing.T) {
	t.Parallel()
	c := enrolltest.NewChroot(t)
	content := bytes.Repeat([]byte("0123456789abcdef"), 20_000)
	local := inFile(t, "tbot", content)
	f, err := sumFile(local)
	if err != nil {
		t.Fatal(err)
	}
	for _, there := range []string{
		"rm -f /opt/part", "head -c 100000 /opt/whole >/opt/part", "head -c 100000 /dev/zero >/opt/part",
		"cp /opt/whole /opt/part", "(cat /opt/whole; echo more) >/opt/part", "ln -s /etc/passwd /opt/part",
	} {
		c.Sh("rm -f /opt/part; cp -p /opt/keep /opt/whole 2>/dev/null || :")
		if there != "rm -f /opt/part" {
			c.Sh(there)
		}
		p := push{local: local, remote: "/opt/part", sha256: f.sha256, size: f.size}
		if err := p.send(t.Context(), c); err != nil {
			t.Fatalf("%s: %v", there, err)
		}
		if got := c.Sh("sha256sum </opt/part; stat -c %F /opt/part; head -n 1 /etc/passwd"); !strings.HasPrefix(got, f.sha256) ||
			!strings.Contains(got, "regular file\nroot:") {
			t.Errorf("%s: %s", there, got)
		}
		c.Sh("cp -p /opt/part /opt/keep")
	}
}

func TestInstallFromAMirror(t *testing.T) {
	t.Parallel()
	release := tarball(t, "18.2.0")
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/teleport-ent-v18.2.0-linux-amd64-bin.tar.gz" {
			http.NotFound(w, r)
			return
		}
		http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(release))
	}))
	t.Cleanup(srv.Close)
	in := config.Install{From: "url", Version: "18.2.0", URL: srv.URL + "/teleport-ent-v{version}-linux-{arch}-bin.tar.gz",
		SHA256: map[string]string{"amd64": hexSum(release)}}
	for _, c := range []struct{ name, prepare, sum string }{
		{name: "with whatever downloads there"},
		{name: "with neither curl nor wget the controller downloads", prepare: "rm -f /usr/bin/curl /usr/bin/wget"},
		{name: "a wrong checksum installs nothing", sum: strings.Repeat("0", 64)},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			host := enrolltest.NewChroot(t)
			if c.prepare != "" {
				host.Sh(c.prepare)
			}
			in := in
			if c.sum != "" {
				in.SHA256 = map[string]string{"amd64": c.sum}
				d := installing(t, prepared(t, in, nil))
				_, err := Apply(t.Context(), host, Plan(gather(t, host, d), d)[:1], ApplyOptions{})
				if err == nil || !strings.Contains(err.Error(), "SHA-256") {
					t.Errorf("got %v", err)
				}
				if got := host.Sh("tbot version"); !strings.HasPrefix(got, "Teleport v17.2.1") {
					t.Errorf("on the host: %s", got)
				}
				return
			}
			if _, second := install(t, host, installing(t, prepared(t, in, nil))); second.Changes() {
				t.Errorf("second plan: %+v", second)
			}
			if got := host.Sh("tbot version; ls /usr/local/bin | grep -c fleetctl || :"); !strings.HasPrefix(got, "Teleport v18.2.0") || !strings.HasSuffix(got, "\n0") {
				t.Errorf("on the host: %s", got)
			}
		})
	}
}

func TestInstallWithTheClustersScript(t *testing.T) {
	t.Parallel()
	srv := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/v1/webapi/ping":
			io.WriteString(w, `{"server_version":"18.3.0"}`) //nolint:errcheck // a test
		case "/install.sh":
			io.WriteString(w, "#!/bin/bash\nset -e\nprintf '#!/bin/sh\\necho \"Teleport v%s git:x %s\"\\n' \"$1\" \"$2\" >/usr/local/bin/tbot.new\nchmod 0755 /usr/local/bin/tbot.new\nmv /usr/local/bin/tbot.new /usr/local/bin/tbot\n") //nolint:errcheck // a test
		default:
			http.NotFound(w, r)
		}
	}))
	t.Cleanup(srv.Close)
	proxy := strings.TrimPrefix(srv.URL, "https://")
	in, err := Prepare(t.Context(), srv.Client(), t.TempDir(),
		config.Install{From: "script", URL: srv.URL + "/install.sh"}, config.Cluster{ProxyServer: proxy})
	if err != nil {
		t.Fatal(err)
	}
	c := enrolltest.NewChroot(t)
	c.Sh("command -v curl || { printf '#!/bin/sh\n' >/usr/bin/curl; chmod 0755 /usr/bin/curl; }")
	d := testDesired(t, enrolltest.Config(), inventory.Host{Name: "web-01"})
	d = d.Installing(in)
	if _, second := install(t, c, d); second.Changes() || second.problem != nil {
		t.Errorf("second plan: %+v", second)
	}
	if got := c.Sh("tbot version"); got != "Teleport v18.3.0 git:x enterprise" {
		t.Errorf("on the host: %s", got)
	}
}

func TestInstallConfigurationErrors(t *testing.T) {
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	sum := strings.Repeat("a", 64)
	for _, c := range []struct {
		name string
		in   config.Install
		want string
	}{
		{"an unknown source", config.Install{From: "apt"}, "none of"},
		{"files without files", config.Install{From: "file"}, "needs files"},
		{"an unknown architecture", config.Install{From: "file", Files: map[string]string{"x86": exe}}, "is no architecture"},
		{"a file that is not there", config.Install{From: "file", Files: map[string]string{"amd64": "/nowhere"}}, "no such file"},
		{"a program for another architecture", config.Install{From: "file", Files: map[string]string{"s390x": exe}}, "not for s390x"},
		{"a text file", config.Install{From: "file", Files: map[string]string{"amd64": inFile(t, "x", []byte("hello"))}}, "neither"},
		{"a tarball without tbot", config.Install{From: "file", Files: map[string]string{"amd64": inFile(t, "x.tgz", nil)}}, "x.tgz"},
		{"a package whose name has no version", config.Install{From: "file", Files: map[string]string{"amd64": inFile(t, "x.deb", []byte("!<arch>"))}}, "no version"},
		{"a wrong checksum", config.Install{From: "file", Files: map[string]string{"amd64": exe}, SHA256: map[string]string{"amd64": sum}}, "has SHA-256"},
		{"a URL without checksums", config.Install{From: "url", URL: "https://m/x"}, "needs sha256"},
		{"a URL that is none", config.Install{From: "url", URL: "m/x"}, "no http"},
		{"a URL without a version", config.Install{From: "url", URL: "https://m/tbot", SHA256: map[string]string{"amd64": sum}}, "version: is needed"},
		{"two architectures and one URL", config.Install{From: "url", URL: "https://m/tbot-1.2.3", SHA256: map[string]string{"amd64": sum, "arm64": sum}}, "needs {arch}"},
		{"half a checksum", config.Install{From: "url", URL: "https://m/tbot-1.2.3", SHA256: map[string]string{"amd64": "aa"}}, "64 hex"},
		{"a version that is none", config.Install{From: "script", Version: "latest"}, "is no version"},
		{"a version without the tpm method", config.Install{From: "url", URL: "https://m/tbot-15.2.4", SHA256: map[string]string{"amd64": sum}}, "15.3.0"},
		{"an unknown edition", config.Install{From: "script", Edition: "free"}, "none of oss"},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := Prepare(t.Context(), nil, t.TempDir(), c.in, config.Cluster{})
			if !errors.Is(err, outcome.ErrInput) || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v, want something with %q", err, c.want)
			}
		})
	}
}

func TestInstallFromADebPackage(t *testing.T) {
	t.Parallel()
	if _, err := exec.LookPath("dpkg-deb"); err != nil {
		enrolltest.SkipOrFail(t, err.Error())
	}
	tree := t.TempDir()
	for name, content := range map[string]string{
		"DEBIAN/control": "Package: teleport-ent-test\nVersion: 18.4.0\nArchitecture: all\nMaintainer: nobody <nobody@example.com>\n" +
			"Description: a package for a test\n",
		"usr/local/bin/tbot": fakeTbot("18.4.0"),
	} {
		path := filepath.Join(tree, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(content), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	deb := filepath.Join(t.TempDir(), "teleport-ent_18.4.0_amd64.deb")
	if out, err := exec.Command("dpkg-deb", "--root-owner-group", "--build", tree, deb).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	c := enrolltest.NewChroot(t)
	in := prepared(t, config.Install{From: "file", Files: map[string]string{"amd64": deb, "arm64": deb}}, nil)
	first, second := install(t, c, installing(t, in))
	if second.Changes() || second.problem != nil {
		t.Errorf("second plan: %+v", second)
	}
	if got := c.Sh("tbot version; /usr/local/bin/tbot.previous version; ls /var/tmp | grep -c fleetctl || :"); !strings.HasPrefix(got,
		"Teleport v18.4.0") || !strings.Contains(got, "Teleport v17.2.1") || !strings.HasSuffix(got, "\n0") {
		t.Errorf("on the host: %s", got)
	}
	for _, a := range first.undo {
		if err := applyAction(t.Context(), c, a, 0); err != nil {
			t.Fatal(err)
		}
	}
	if got := c.Sh("tbot version"); !strings.HasPrefix(got, "Teleport v17.2.1") {
		t.Errorf("after the rollback: %s", got)
	}
}
