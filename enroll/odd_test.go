package enroll

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"fleetctl/enroll/enrolltest"
	"fleetctl/enroll/host"
	"fleetctl/enroll/host/diff"
	"fleetctl/enroll/outcome"
	"fleetctl/enroll/store"
)

// vendorUnit is where a package's unit lies.
const vendorUnit = "/usr/lib/systemd/system/tbot.service"

// packaged gives a host a bot of somebody else: a package's unit, a configuration and a storage of its own. It runs.
func (l *lab) packaged(name, user string) {
	l.t.Helper()
	l.with(name, func(s *enrolltest.State) {
		s.Groups[user], s.Users[user] = 700, &enrolltest.User{UID: 700, Group: user, Home: "/", Shell: "/bin/sh"}
		s.Groups["tss"] = 701
		s.Users[user].Groups = []string{"tss"}
		s.Files[s.Device].Group, s.Files[s.Device].Mode = "tss", 0o660
		s.Files["/etc/old.yaml"] = &enrolltest.File{Kind: enrolltest.Regular, Mode: 0o644, Owner: "root", Group: "root", Content: []byte("version: v2\n" +
			"proxy_server: teleport.example.com:443\nonboarding: {join_method: tpm, token: theirs}\nstorage: {type: directory, path: /var/lib/old}\n")}
		s.Files["/var/lib/old"] = &enrolltest.File{Kind: enrolltest.Dir, Mode: 0o700, Owner: user, Group: user}
		s.Files["/var/lib/old/tlscert"] = &enrolltest.File{Kind: enrolltest.Regular, Mode: 0o600, Owner: user, Group: user, Content: []byte("theirs")}
		s.Files[vendorUnit] = &enrolltest.File{Kind: enrolltest.Regular, Mode: 0o644, Owner: "root", Group: "root",
			Content: []byte("[Service]\nUser=" + user + "\nExecStart=/usr/local/bin/tbot start -c /etc/old.yaml\n")}
		s.Service.Enabled, s.Service.State = true, "active"
	})
	err := l.cluster.Put("kind: bot\nversion: v1\nmetadata: {name: theirs}\nspec: {roles: [access]}\n---\nkind: token\nversion: v2\n" +
		"metadata: {name: theirs}\nspec: {roles: [Bot], join_method: tpm, bot_name: theirs, tpm: {allow: [{description: theirs, ek_public_hash: " +
		l.host[name].TPM.EKHash() + "}]}}\n")
	if err != nil {
		l.t.Fatal(err)
	}
}

func TestAServiceOfSomebodyElseIsNotTaken(t *testing.T) {
	t.Parallel()
	l := newLab(t, 1)
	l.packaged("web-01", "old")
	before := l.host["web-01"].Tree()
	report, err := l.enroll()
	l.check("enroll", report.Results, err, "web-01 failed not-ours", outcome.ErrHostsFailed)
	for _, want := range []string{vendorUnit, "/etc/old.yaml", "as user old", "active and enabled"} {
		if m := report.Results[0].Message; !strings.Contains(m, want) {
			t.Errorf("%q doesn't say %q", m, want)
		}
	}
	if after := l.host["web-01"].Tree(); after != before {
		t.Errorf("it changed:\n%s", diff.Unified(before, after))
	}
}

func TestAnAdoptedServiceComesBackAsItWas(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name            string
		enabled, active bool
	}{{"it runs and is enabled", true, true}, {"it runs", false, true}, {"it is enabled", true, false}, {"nobody uses it", false, false}} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			l := newLab(t, 1)
			l.packaged("web-01", "old")
			l.with("web-01", func(s *enrolltest.State) {
				if s.Service.Enabled = tt.enabled; !tt.active {
					s.Service.State = "inactive"
				}
			})
			before := l.host["web-01"].Tree()
			report, err := l.enroll(func(o *EnrollOptions) { o.Adopt = true })
			l.check("enroll", report.Results, err, "web-01 changed", nil)
			removed, err := l.remove(RemoveOptions{Names: []string{"web-01"}})
			l.check("remove", removed.Results, err, "web-01 changed", outcome.ErrHostsFailed) // the other token still admits it
			if after := l.host["web-01"].Tree(); after != before {
				t.Errorf("it is not as it was:\n%s", diff.Unified(before, after))
			}
		})
	}
}

// TestAFailedAdoptionBringsTheServiceBack: what was there runs again, and nothing of ours is left, in the records neither.
func TestAFailedAdoptionBringsTheServiceBack(t *testing.T) {
	t.Parallel()
	l := newLab(t, 1)
	l.packaged("web-01", "old")
	before := l.host["web-01"].Tree()
	l.Config.Tbot.Services = broken()
	report, err := l.enroll(func(o *EnrollOptions) { o.Adopt = true })
	l.check("enroll", report.Results, err, "web-01 failed bad-config", outcome.ErrHostsFailed)
	if after := l.host["web-01"].Tree(); after != before {
		t.Errorf("%s\nit is not as it was:\n%s", report.Results[0].Message, diff.Unified(before, after))
	}
	if in := l.record("web-01").Installed; len(in.Made) > 0 {
		t.Errorf("the records say that there is %v", in.Made)
	}
}

// TestARollbackThatDoesNotHelpSaysSo: the service that was there is watched, too.
func TestARollbackThatDoesNotHelpSaysSo(t *testing.T) {
	t.Parallel()
	l := newLab(t, 1)
	l.enrolled()
	l.Config.Tbot.Services = broken()
	l.breaks(func(e enrolltest.Event) error {
		if e.What == "verify" { // somebody takes the account away meanwhile
			l.with("web-01", func(s *enrolltest.State) { delete(s.Users, "teleport") })
		}
		return nil
	})
	report, err := l.enroll()
	l.check("enroll", report.Results, err, "web-01 failed bad-config", outcome.ErrHostsFailed)
	if m := report.Results[0].Message; !strings.Contains(m, "doesn't keep running") || strings.Contains(m, "has joined") {
		t.Error(m)
	}
}

// TestAUserThatChangesAndFailsLeavesNothing: owners, memberships and accounts are put back.
func TestAUserThatChangesAndFailsLeavesNothing(t *testing.T) {
	t.Parallel()
	l := newLab(t, 1)
	l.enrolled()
	before, made := l.host["web-01"].Tree(), l.record("web-01").Installed.Made
	l.Config.Tbot.User, l.Config.Tbot.Group, l.Config.Tbot.Services = "other", "other", broken()
	report, err := l.enroll()
	l.check("enroll", report.Results, err, "web-01 failed bad-config", outcome.ErrHostsFailed)
	if after := l.host["web-01"].Tree(); after != before {
		t.Errorf("%s\nit is not as it was:\n%s", report.Results[0].Message, diff.Unified(before, after))
	}
	if m := report.Results[0].Message; !strings.Contains(m, "and tbot was restarted with them and has joined") {
		t.Error(m)
	}
	if now := l.record("web-01").Installed.Made; !slices.Equal(now, made) {
		t.Errorf("made was %q, is %q", made, now)
	}
}

func TestWhatAnotherTbotHasIsNotTaken(t *testing.T) {
	t.Parallel()
	l := newLab(t, 1)
	l.with("web-01", func(s *enrolltest.State) {
		s.Others = []enrolltest.OtherTbot{{PID: 4711, Unit: "session-3.scope", Command: "tbot start -c /root/mine.yaml"}}
	})
	for _, adopt := range []bool{false, true} { // two of them cannot have it, whatever anybody says
		report, err := l.enroll(func(o *EnrollOptions) { o.Adopt = adopt })
		l.check("enroll", report.Results, err, "web-01 failed not-ours", outcome.ErrHostsFailed)
		if m := report.Results[0].Message; !strings.Contains(m, "process 4711 of session-3.scope (tbot start -c /root/mine.yaml)") {
			t.Error(m)
		}
	}
}

func TestAStorageWithSomebodyElsesContent(t *testing.T) {
	t.Parallel()
	l := newLab(t, 1)
	l.with("web-01", func(s *enrolltest.State) {
		for _, dir := range []string{"/var/lib/teleport", "/var/lib/teleport/bot"} {
			s.Files[dir] = &enrolltest.File{Kind: enrolltest.Dir, Mode: 0o755, Owner: "root", Group: "root"}
		}
		s.Files["/var/lib/teleport/bot/key"] = &enrolltest.File{Kind: enrolltest.Regular, Mode: 0o600, Owner: "root", Group: "root"}
	})
	before := l.host["web-01"].Tree()
	report, err := l.enroll()
	l.check("enroll", report.Results, err, "web-01 failed not-ours", outcome.ErrHostsFailed)
	report, err = l.enroll(func(o *EnrollOptions) { o.Adopt = true })
	l.check("adopted", report.Results, err, "web-01 changed", nil)
	report, err = l.enroll()
	l.check("again, and it is known", report.Results, err, "web-01 ok", nil)
	removed, err := l.remove(RemoveOptions{Names: []string{"web-01"}})
	l.check("remove", removed.Results, err, "web-01 changed", nil)
	l.with("web-01", func(s *enrolltest.State) { delete(s.Files, "/var/lib/teleport/bot/tlscert") }) // it is where theirs would be
	if after := l.host["web-01"].Tree(); after != before {
		t.Errorf("it is not as it was:\n%s", diff.Unified(before, after))
	}
}

// TestWhatIsTakenIsWhatWasMade: whatever fleet.yaml says by then.
func TestWhatIsTakenIsWhatWasMade(t *testing.T) {
	t.Parallel()
	change := func(l *lab) {
		l.Config.Tbot.Storage, l.Config.Tbot.Config = "/var/lib/second/bot", "/etc/second/tbot.yaml"
		l.Config.Tbot.User, l.Config.Tbot.Group = "second", "second"
		l.Config.Tbot.Services = []map[string]any{identityIn("/opt/second/id")}
	}
	for _, tt := range []struct {
		name   string
		before func(*lab)
		again  bool // an enroll comes between the change and the removal
	}{
		{"in fleet.yaml alone", func(*lab) {}, false},
		{"on the host, too", func(*lab) {}, true},
		{"directories that were there stay", func(l *lab) {
			l.with("web-01", func(s *enrolltest.State) {
				for _, dir := range []string{"/var/lib/teleport", "/var/lib/teleport/bot", "/opt/machine-id", "/var/lib/second", "/etc/second"} {
					s.Files[dir] = &enrolltest.File{Kind: enrolltest.Dir, Mode: 0o711, Owner: "admin", Group: "admin"}
				}
			})
		}, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			l := newLab(t, 1)
			tt.before(l)
			before := l.host["web-01"].Tree()
			l.Config.Tbot.Services = []map[string]any{identityIn("/opt/machine-id/app")}
			l.enrolled()
			if change(l); tt.again {
				l.enrolled()
			}
			removed, err := l.remove(RemoveOptions{Names: []string{"web-01"}})
			l.check("remove", removed.Results, err, "web-01 changed", nil)
			if after := l.host["web-01"].Tree(); after != before {
				t.Errorf("it left something:\n%s", diff.Unified(before, after))
			}
		})
	}
}

func TestAMountedStorageIsEmptiedAndStays(t *testing.T) {
	t.Parallel()
	l := newLab(t, 1)
	l.enrolled()
	dir := "/var/lib/teleport/bot"
	l.with("web-01", func(s *enrolltest.State) {
		s.Mounts = []string{dir}
		s.Files[dir+"/identity"] = &enrolltest.File{Kind: enrolltest.Regular, Mode: 0o600, Owner: "teleport", Group: "teleport"}
	})
	removed, err := l.remove(RemoveOptions{Names: []string{"web-01"}})
	l.check("remove", removed.Results, err, "web-01 changed", nil)
	l.with("web-01", func(s *enrolltest.State) {
		if s.Files[dir] == nil || s.Files[dir+"/identity"] != nil || s.Users["teleport"] != nil {
			t.Errorf("storage %v, its content %v", s.Files[dir], s.Files[dir+"/identity"])
		}
	})
}

func TestAGroupThatSomebodyElseJoinedStays(t *testing.T) {
	t.Parallel()
	l := newLab(t, 1)
	l.enrolled()
	l.with("web-01", func(s *enrolltest.State) { s.Users["admin"].Groups = []string{"tss"} })
	removed, err := l.remove(RemoveOptions{Names: []string{"web-01"}})
	l.check("remove", removed.Results, err, "web-01 changed", nil)
	l.with("web-01", func(s *enrolltest.State) {
		if _, there := s.Groups["tss"]; !there || s.Users["teleport"] != nil || !slices.Contains(s.Users["admin"].Groups, "tss") {
			t.Errorf("groups %v, users %v", s.Groups, s.Users)
		}
	})
}

// TestOlderRecordsOfWhatWasMade: what an older fleetctl kept beside the list is part of it.
func TestOlderRecordsOfWhatWasMade(t *testing.T) {
	t.Parallel()
	in := &store.Installed{Made: []string{"group:teleport", "user:teleport", "member:tss", "dir:/var/lib/teleport/bot"},
		User: "teleport", Config: "/etc/tbot.yaml", Storage: "/var/lib/teleport/bot"}
	var got []string
	for _, t := range host.MadeBy(in) {
		got = append(got, t.String())
	}
	want := "group:teleport user:teleport member:tss:teleport dir:/var/lib/teleport/bot config:/etc/tbot.yaml storage:/var/lib/teleport/bot"
	if strings.Join(got, " ") != want {
		t.Errorf("got %q", got)
	}
	if host.MadeBy(nil) != nil {
		t.Error("of nothing something was made")
	}
}

// TestDropInsOfOthers: those that make another service of it are named, the others stay.
func TestDropInsOfOthers(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ name, path, text, want string }{
		{"another command", "override.conf", "[Service]\nExecStart=\nExecStart=/usr/bin/other\n", "override.conf sets ExecStart=/usr/bin/other"},
		{"a second command", "override.conf", "[Service]\nExecStart=/usr/local/bin/tbot start -c /etc/tbot.yaml\n", "override.conf sets ExecStart="},
		{"another user", "90-site.conf", "[Service]\n# a comment\nUser = admin\n", "90-site.conf sets User=admin"},
		{"the same user", "90-site.conf", "[Service]\nUser=teleport\n", ""},
		{"no devices", "a.conf", "[Service]\nPrivateDevices=true\n", "sets PrivateDevices=true"},
		{"what another section says", "a.conf", "[Unit]\nUser=admin\n", ""},
		{"a limit", "a.conf", "[Service]\nMemoryMax=1G\nEnvironment=HTTP_PROXY=proxy TELEPORT_ANONYMOUS_TELEMETRY=0\n", ""},
		{"a configuration by the environment", "a.conf", "[Service]\nEnvironment=A=b \\\n  \"TBOT_CONFIG_PATH=/etc/other.yaml\"\n", "sets Environment="},
		{"no way to the storage", "a.conf", "[Service]\nInaccessiblePaths=-/srv /var/lib\n", "sets InaccessiblePaths="},
		{"another path that is closed", "a.conf", "[Service]\nInaccessiblePaths=/srv\n", ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			l := newLab(t, 1)
			l.with("web-01", func(s *enrolltest.State) {
				dir := "/etc/systemd/system/tbot.service.d"
				s.Files[dir] = &enrolltest.File{Kind: enrolltest.Dir, Mode: 0o755, Owner: "root", Group: "root"}
				s.Files[dir+"/"+tt.path] = &enrolltest.File{Kind: enrolltest.Regular, Mode: 0o644, Owner: "root", Group: "root", Content: []byte(tt.text)}
			})
			before := l.host["web-01"].Tree()
			report, err := l.enroll()
			if tt.want == "" {
				l.check("enroll", report.Results, err, "web-01 changed", nil)
			} else {
				l.check("enroll", report.Results, err, "web-01 failed drop-in", outcome.ErrHostsFailed)
				if m := report.Results[0].Message; !strings.Contains(m, "/etc/systemd/system/tbot.service.d/"+tt.path) || !strings.Contains(m, tt.want) {
					t.Error(m)
				}
			}
			removed, err := l.remove(RemoveOptions{Names: []string{"web-01"}})
			l.check("remove", removed.Results, err, map[bool]string{true: "web-01 changed", false: "web-01 ok"}[tt.want == ""], nil)
			if after := l.host["web-01"].Tree(); after != before {
				t.Errorf("it is not as it was:\n%s", diff.Unified(before, after))
			}
		})
	}
}

// TestOutputsInADirectoryThatWasThere: what tbot wrote goes, and nothing else.
func TestOutputsInADirectoryThatWasThere(t *testing.T) {
	t.Parallel()
	l := newLab(t, 1)
	l.with("web-01", func(s *enrolltest.State) {
		s.Files["/opt/app"] = &enrolltest.File{Kind: enrolltest.Dir, Mode: 0o777, Owner: "admin", Group: "admin"}
		s.Files["/opt/app/key"] = &enrolltest.File{Kind: enrolltest.Regular, Mode: 0o600, Owner: "admin", Group: "admin"}
	})
	before := l.host["web-01"].Tree()
	l.Config.Tbot.Services = []map[string]any{identityIn("/opt/app")}
	l.enrolled()
	l.with("web-01", func(s *enrolltest.State) {
		s.Files["/opt/app/identity"] = &enrolltest.File{Kind: enrolltest.Regular, Mode: 0o600, Owner: "teleport", Group: "teleport"}
	})
	removed, err := l.remove(RemoveOptions{Names: []string{"web-01"}})
	l.check("remove", removed.Results, err, "web-01 changed", nil)
	if after := l.host["web-01"].Tree(); after != before {
		t.Errorf("it is not as it was:\n%s", diff.Unified(before, after))
	}
}

// TestACopyOfSomebodyElsesIsNotTakenForOurs: a PATH.orig that is there already is neither brought back nor written over.
func TestACopyOfSomebodyElsesIsNotTakenForOurs(t *testing.T) {
	t.Parallel()
	other := &enrolltest.File{Kind: enrolltest.Regular, Mode: 0o600, Owner: "root", Group: "root", Content: []byte("other")}
	l := newLab(t, 2)
	for _, name := range []string{"web-01", "web-02"} {
		l.with(name, func(s *enrolltest.State) { s.Files["/etc/tbot.yaml.orig"] = other })
	}
	l.with("web-02", func(s *enrolltest.State) {
		s.Files["/etc/tbot.yaml"] = &enrolltest.File{Kind: enrolltest.Regular, Mode: 0o600, Owner: "root", Group: "root", Content: []byte("version: v2\n")}
	})
	before := l.host["web-01"].Tree()
	report, err := l.enroll(func(o *EnrollOptions) { o.Adopt = true })
	l.check("enroll", report.Results, err, "web-01 changed, web-02 failed not-ours", outcome.ErrHostsFailed)
	if m := report.Results[1].Message; !strings.Contains(m, "/etc/tbot.yaml.orig is there already") || l.file("web-02", "/etc/tbot.yaml") != "version: v2\n" {
		t.Error(m)
	}
	removed, err := l.remove(RemoveOptions{Names: []string{"web-01"}})
	l.check("remove", removed.Results, err, "web-01 changed", nil)
	if after := l.host["web-01"].Tree(); after != before {
		t.Errorf("it is not as it was:\n%s", diff.Unified(before, after))
	}
}

// TestARemovalThatFailsIsTriedAgain: at every action once, and the next one completes it.
func TestARemovalThatFailsIsTriedAgain(t *testing.T) {
	t.Parallel()
	for fails := 1; ; fails++ {
		l := newLab(t, 1)
		l.packaged("web-01", "old")
		before := l.host["web-01"].Tree()
		report, err := l.enroll(func(o *EnrollOptions) { o.Adopt = true })
		l.check("enroll", report.Results, err, "web-01 changed", nil)
		n, failed := 0, false
		l.breaks(func(e enrolltest.Event) error {
			if e.What == "action" {
				if n++; n == fails {
					failed = true
					return errors.New("rm: Read-only file system")
				}
			}
			return nil
		})
		_, _ = l.remove(RemoveOptions{Names: []string{"web-01"}})
		l.breaks(nil)
		if !failed {
			if fails < 5 {
				t.Errorf("%d actions", fails)
			}
			return
		}
		removed, err := l.remove(RemoveOptions{Names: []string{"web-01"}})
		l.check("again", removed.Results, err, "web-01 changed", outcome.ErrHostsFailed)
		if after := l.host["web-01"].Tree(); after != before {
			t.Errorf("after failure %d it is not as it was:\n%s", fails, diff.Unified(before, after))
		}
	}
}

// TestAnEnrollThatFailsAnywhereLeavesTheHostAsItWas: at every action and at every file once, of an enrolled host that becomes
// another one, and of a service of somebody else.
func TestAnEnrollThatFailsAnywhereLeavesTheHostAsItWas(t *testing.T) {
	t.Parallel()
	for _, adopted := range []bool{false, true} {
		for fails := 1; ; fails++ {
			l := newLab(t, 1)
			if adopted {
				l.packaged("web-01", "old")
			} else {
				l.enrolled()
			}
			before := l.host["web-01"].Tree()
			l.Config.Tbot.User, l.Config.Tbot.Group, l.Config.Tbot.Storage = "other", "other", "/var/lib/other/bot"
			l.Config.Tbot.Services = []map[string]any{identityIn("/opt/other/id")}
			n, failed := 0, ""
			l.breaks(func(e enrolltest.Event) error {
				if e.What == "action" || e.Kind == "file" {
					if n++; n == fails {
						failed = e.What + " " + e.Text[max(0, len(e.Text)-200):]
						return errors.New("sh: No such luck")
					}
				}
				return nil
			})
			report, _ := l.enroll(func(o *EnrollOptions) { o.Adopt = adopted })
			if failed == "" {
				if fails < 10 || report.Results[0].Outcome != outcome.Changed {
					t.Errorf("%d actions: %+v", fails, report.Results[0])
				}
				break
			}
			if after := l.host["web-01"].Tree(); after != before {
				t.Errorf("%s\n%s\nafter failure %d it is not as it was:\n%s", failed, report.Results[0].Message, fails, diff.Unified(before, after))
			}
		}
	}
}
