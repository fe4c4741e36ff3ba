package enroll

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"fleetctl/enroll/config"
	"fleetctl/enroll/enrolltest"
	"fleetctl/enroll/host/diff"
	"fleetctl/enroll/outcome"
)

const newer = "18.5.1"

// tarball is a release with that tbot, and its SHA-256.
func tarball(t *testing.T, version string) (data []byte, sum string) {
	t.Helper()
	data, err := enrolltest.TbotTarball(version)
	if err != nil {
		t.Fatal(err)
	}
	digest := sha256.Sum256(data)
	return data, hex.EncodeToString(digest[:])
}

// fromFile installs from a tarball on this machine.
func (l *lab) fromFile(version string) {
	l.t.Helper()
	data, sum := tarball(l.t, version)
	file := filepath.Join(l.t.TempDir(), "teleport-ent-v"+version+"-linux-amd64-bin.tar.gz")
	if err := os.WriteFile(file, data, 0o600); err != nil {
		l.t.Fatal(err)
	}
	l.Config.Tbot.Install = config.Install{From: "file", Files: map[string]string{"amd64": file}, SHA256: map[string]string{"amd64": sum}}
}

// serve serves what is installed, and counts how often it is asked.
func serve(t *testing.T, data []byte) (url string, asked *atomic.Int64) {
	t.Helper()
	asked = &atomic.Int64{}
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		asked.Add(1)
		_, _ = w.Write(data) // a client that went away has its own error
	}))
	t.Cleanup(s.Close)
	return s.URL + "/teleport-v" + newer + "-linux-{arch}-bin.tar.gz", asked
}

// fromURL installs from a tarball that hosts download.
func (l *lab) fromURL() *atomic.Int64 {
	l.t.Helper()
	data, sum := tarball(l.t, newer)
	url, asked := serve(l.t, data)
	l.Config.Tbot.Install = config.Install{From: "url", URL: url, SHA256: map[string]string{"amd64": sum}}
	for name := range l.host {
		l.with(name, func(s *enrolltest.State) {
			s.Download = func(url string) ([]byte, error) {
				asked.Add(1)
				if !strings.HasSuffix(url, "-linux-amd64-bin.tar.gz") {
					return nil, errors.New("curl: (22) 404")
				}
				return data, nil
			}
		})
	}
	return asked
}

// tbotOn is the version of tbot on a host; "" for none.
func (l *lab) tbotOn(name string) (version string) {
	l.with(name, func(s *enrolltest.State) {
		for _, v := range []string{tbotHere, newer, newest} {
			if f := s.Files["/usr/local/bin/tbot"]; f != nil && string(f.Content) == string(enrolltest.Tbot(v)) {
				version = v
			}
		}
	})
	return version
}

func TestTbotIsInstalled(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name   string
		change func(*lab)
	}{
		{"from a tarball here, which is pushed", func(l *lab) { l.fromFile(newer) }},
		{"from a URL by every host", func(l *lab) {
			asked := l.fromURL()
			l.t.Cleanup(func() {
				if n := asked.Load(); n != 2 {
					l.t.Errorf("it was downloaded %d times", n)
				}
			})
		}},
		{"from a URL by the controller, once, for hosts that cannot download", func(l *lab) {
			asked := l.fromURL()
			for name := range l.host {
				l.with(name, func(s *enrolltest.State) { s.Tools, s.Download = nil, nil })
			}
			l.t.Cleanup(func() {
				if n := asked.Load(); n != 1 {
					l.t.Errorf("it was downloaded %d times", n)
				}
			})
		}},
		{"by the cluster's installer", func(l *lab) {
			url, _ := serve(l.t, []byte("#!/bin/bash\necho installing\n"))
			l.Config.Tbot.Install = config.Install{From: "script", URL: strings.Replace(url, "{arch}", "any", 1), Version: newer}
			for name := range l.host {
				l.with(name, func(s *enrolltest.State) {
					s.Install = func(s *enrolltest.State, script []byte, args []string) error {
						if !strings.HasPrefix(string(script), "#!/bin/bash") || !slices.Equal(args, []string{newer, "enterprise"}) {
							return errors.New("wrong script or arguments")
						}
						s.Files["/usr/local/bin/tbot"] = &enrolltest.File{Kind: enrolltest.Regular, Mode: 0o755, Owner: "root", Group: "root",
							Content: enrolltest.Tbot(newer)}
						return nil
					}
				})
			}
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			l := newLab(t, 2)
			l.with("web-01", func(s *enrolltest.State) { delete(s.Files, "/usr/local/bin/tbot") })
			tt.change(l)
			before := l.host["web-01"].Tree()
			report, err := l.enroll()
			l.check("enroll", report.Results, err, "web-01 changed, web-02 changed", nil)
			for _, name := range []string{"web-01", "web-02"} {
				if got := l.tbotOn(name); got != newer || l.record(name).Installed.TbotVersion != newer {
					t.Errorf("%s has tbot %q, by the records %q", name, got, l.record(name).Installed.TbotVersion)
				}
			}
			l.writes()
			report, err = l.enroll()
			l.check("second run", report.Results, err, "web-01 ok, web-02 ok", nil)
			if w := l.writes(); len(w) > 0 {
				t.Errorf("the second run wrote %v", w)
			}
			if l.Config.Tbot.Install.From == "script" {
				return // its installer's traces are its own
			}
			made := l.record("web-01").Installed.Made
			removed, err := l.remove(RemoveOptions{Names: []string{"web-01"}})
			l.check("removal", removed.Results, err, "web-01 changed", nil)
			if after := l.host["web-01"].Tree(); after != before {
				t.Errorf("the removal left something (made %v):\n%s", made, diff.Unified(before, after))
			}
		})
	}
}

func TestAnInstalledTbotIsTakenBackWithTheRest(t *testing.T) {
	t.Parallel()
	for _, from := range []func(*lab){func(l *lab) { l.fromFile(newer) }, func(l *lab) { l.fromURL() }} {
		l := newLab(t, 1)
		l.enrolled()
		from(l)
		l.Config.Tbot.Services = broken()
		report, err := l.enroll()
		l.check("enroll", report.Results, err, "web-01 failed bad-config", outcome.ErrHostsFailed)
		state := ""
		l.with("web-01", func(s *enrolltest.State) { state = s.Service.State })
		if got := l.tbotOn("web-01"); got != tbotHere || state != "active" {
			t.Errorf("tbot %q is %s: %s", got, state, report.Results[0].Message)
		}
		l.Config.Tbot.Services = nil
		report, err = l.enroll()
		l.check("after the correction", report.Results, err, "web-01 changed", nil)
		if got := l.tbotOn("web-01"); got != newer {
			t.Errorf("tbot %q", got)
		}
	}
}

func TestInstallersThatDoNotDoWhatTheySay(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name   string
		change func(*lab)
		want   string // of web-01; "" where it is found before a host is contacted
		says   string
	}{
		{"a file that is not there", func(l *lab) {
			l.Config.Tbot.Install = config.Install{From: "file", Files: map[string]string{"amd64": "/missing.tar.gz"}}
		}, "", "tbot.install: files: amd64"},
		{"a file with another checksum", func(l *lab) {
			l.fromFile(newer)
			l.Config.Tbot.Install.SHA256["amd64"] = strings.Repeat("0", 64)
		}, "", "has SHA-256"},
		{"nothing for the host's architecture", func(l *lab) {
			l.fromFile(newer)
			l.Config.Tbot.Install.Files = map[string]string{"arm64": l.Config.Tbot.Install.Files["amd64"]}
			l.Config.Tbot.Install.SHA256 = nil
		}, "web-01 failed no-package", "amd64"},
		{"a download that is something else", func(l *lab) {
			l.fromURL()
			l.with("web-01", func(s *enrolltest.State) {
				s.Download = func(string) ([]byte, error) { return []byte("<html>"), nil }
			})
		}, "web-01 failed step-failed", "another SHA-256"},
		{"an installer that brings another version", func(l *lab) {
			url, _ := serve(l.t, []byte("#!/bin/bash\n"))
			l.Config.Tbot.Install = config.Install{From: "script", URL: url, Version: "18.9.9"}
			l.with("web-01", func(s *enrolltest.State) {
				s.Install = func(s *enrolltest.State, _ []byte, _ []string) error { return nil }
			})
		}, "web-01 failed install-failed", "it is 18.4.0"},
		{"an installer that fails", func(l *lab) {
			url, _ := serve(l.t, []byte("#!/bin/bash\n"))
			l.Config.Tbot.Install = config.Install{From: "script", URL: url, Version: "18.9.9"}
			l.with("web-01", func(s *enrolltest.State) {
				s.Install = func(*enrolltest.State, []byte, []string) error { return errors.New("no repository for this system") }
			})
		}, "web-01 failed step-failed", "no repository"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			l := newLab(t, 1)
			tt.change(l)
			before := l.host["web-01"].TPM.EKHash()
			report, err := l.enroll()
			if tt.want == "" {
				l.check("enroll", report.Results, err, "", outcome.ErrInput)
				if !strings.Contains(err.Error(), tt.says) || len(l.writes()) > 0 {
					t.Errorf("%v", err)
				}
				return
			}
			l.check("enroll", report.Results, err, tt.want, outcome.ErrHostsFailed)
			if !strings.Contains(report.Results[0].Message, tt.says) || report.Results[0].EKHash != before {
				t.Errorf("%+v", report.Results[0])
			}
			if got := l.tbotOn("web-01"); got != tbotHere {
				t.Errorf("tbot is %q now", got)
			}
		})
	}
}
