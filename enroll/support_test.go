package enroll

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"errors"
	"io"
	"strings"
	"testing"

	"fleetctl/enroll/store"
)

// unpack reads a .tar.gz.
func unpack(t *testing.T, raw []byte) map[string]string {
	t.Helper()
	z, err := gzip.NewReader(bytes.NewReader(raw))
	if err != nil {
		t.Fatal(err)
	}
	files := map[string]string{}
	for r := tar.NewReader(z); ; {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			return files
		}
		if err != nil {
			t.Fatal(err)
		}
		content, err := io.ReadAll(r)
		if err != nil {
			t.Fatal(err)
		}
		files[strings.TrimPrefix(h.Name, "fleetctl-support/")] = string(content)
	}
}

func TestASupportBundleShowsWhatTbotPrintsAndNoSecret(t *testing.T) {
	t.Parallel()
	e := newEnrollChroot(t)
	e.cfg.Bot.Name, e.cfg.Cluster.ProxyServer = "fleet-bot", "teleport.corp.example.org:443"
	if r := e.enroll(nil); r.Bad() {
		t.Fatalf("%+v", r)
	}
	e.host.Sh("printf 'extra:\\n  password: hunter2\\nhash: " + simulatorHash + "\\n' >>/etc/tbot.yaml")
	for _, names := range []bool{false, true} {
		var out bytes.Buffer
		report, err := Support(t.Context(), e.fleet(), &out, SupportOptions{Names: names, About: "test"})
		if err != nil || len(report.Results) != 1 || report.Results[0].Bad() {
			t.Fatalf("%+v, %v", report, err)
		}
		files := unpack(t, out.Bytes())
		name := map[bool]string{false: "host-1", true: "web-01"}[names]
		if got := files["hosts/"+name+"/tbot-version.txt"]; !strings.Contains(got, "Teleport v17") {
			t.Errorf("version: %q of %d files", got, len(files))
		}
		if !strings.Contains(files["hosts/"+name+"/journal.txt"], "Fetched new bot identity") {
			t.Errorf("journal: %q", files["hosts/"+name+"/journal.txt"])
		}
		config := files["hosts/"+name+"/tbot.yaml"]
		if strings.Contains(config, "hunter2") || strings.Contains(config, simulatorHash) || !strings.Contains(config, "join_method: tpm") {
			t.Errorf("tbot.yaml: %s", config)
		}
		if leaks := strings.Contains(config, "corp.example.org"); leaks != names {
			t.Errorf("with names %v: %s", names, config)
		}
	}
	if _, err := e.st.Record(t.Context(), "web-01"); errors.Is(err, store.ErrNotFound) {
		t.Error("the record is gone")
	}
}
