package host

import (
	"bytes"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"fleetctl/enroll/versions"
	"fleetctl/remote"
)

// Facts are what a plan needs to know of a host. All of it is the host's word.
type Facts struct {
	UID      int              `json:"uid"`
	Arch     string           `json:"arch"` // GOARCH; "" when it is none that we know
	OS       OSFacts          `json:"os"`
	Now      int64            `json:"now"`               // the host's clock, Unix seconds
	Systemd  int              `json:"systemd,omitempty"` // the version that is running; 0: another init
	Udev     bool             `json:"udev,omitempty"`    // udevd runs
	SELinux  string           `json:"selinux,omitempty"` // "Enforcing", "Permissive"…
	AppArmor bool             `json:"apparmor,omitempty"`
	Tbot     TbotFacts        `json:"tbot"`
	Tools    []string         `json:"tools,omitempty"` // which of factTools the host has
	User     *UserFacts       `json:"user,omitempty"`  // tbot.user; nil when there is none
	Group    bool             `json:"group,omitempty"` // tbot.group exists
	Access   bool             `json:"access_group,omitempty"`
	Rules    string           `json:"rules,omitempty"` // a file of udev rules that gives the TPM to the access group
	Device   DeviceFacts      `json:"device"`
	Storage  DirFacts         `json:"storage"`
	Dirs     map[int]DirFacts `json:"dirs,omitempty"` // output directories, by their place in the list
	Files    FileSet          `json:"files,omitempty"`
	Service  ServiceFacts     `json:"service"`
	Ready    string           `json:"ready,omitempty"` // HTTP status of /readyz, "refused", or "" when it wasn't asked
	Skew     time.Duration    // of the host's clock to the controller's, when the facts came in
	Pending  bool             `json:"pending,omitempty"` // a restart is due: an earlier run didn't get that far
}

// OSFacts come from os-release.
type OSFacts struct {
	ID      string `json:"id,omitempty"`      // "debian"
	Like    string `json:"like,omitempty"`    // ID_LIKE: "rhel fedora"
	Version string `json:"version,omitempty"` // VERSION_ID
}

// Limits of what facts may hold.
const (
	maxFactsOutput = 2 << 20
	maxFileContent = 64 << 10
	maxFactValue   = 4096
)

var errFacts = errors.New("facts: the host's answer can't be read")

// managedFiles are all files that a plan may read or write.
func (d Desired) managedFiles() []string {
	return []string{string(d.Tbot.Config), unitPath, hardeningDir, devicePath, updaterPath, rulesPath}
}

// GatherFacts asks a host everything that a plan needs, as root, in one round trip.
func GatherFacts(ctx context.Context, conn Conn, d Desired) (*Facts, error) {
	out, err := conn.Run(ctx, remote.Cmd{Script: factsScript(d), Become: true, MaxOutput: maxFactsOutput})
	if err != nil {
		return nil, fmt.Errorf("facts: %w", err)
	}
	if out.ExitCode != 0 {
		return nil, fmt.Errorf("facts: the script ended with %d: %s", out.ExitCode, remote.Clean(remote.Tail(string(out.Stderr), 300)))
	}
	f, err := parseFacts(out.Stdout, d)
	if err == nil {
		f.Skew = time.Until(time.Unix(f.Now, 0))
	}
	return f, err
}

// parseFacts reads the script's lines, "key=value" each. A key that is not known, comes twice or has a value of another
// form is an error: this is no place for guesses.
func parseFacts(out []byte, d Desired) (*Facts, error) {
	f := &Facts{UID: -1, Dirs: map[int]DirFacts{}, Files: FileSet{}}
	p := factsParser{facts: f, files: d.managedFiles(), dirs: len(outputDirs(d.Tbot.Services))}
	seen := map[string]bool{}
	for line := range bytes.Lines(out) {
		key, value, ok := strings.Cut(strings.TrimSuffix(string(line), "\n"), "=")
		if !ok || seen[key] {
			return nil, fmt.Errorf("%w: line %q", errFacts, remote.Cut(string(line), 80))
		}
		seen[key] = true
		if err := p.line(key, value); err != nil {
			return nil, fmt.Errorf("%w: %s: %w", errFacts, remote.Cut(key, 40), err)
		}
	}
	if !seen["end"] {
		return nil, fmt.Errorf("%w: it is cut off", errFacts)
	}
	return f, nil
}

type factsParser struct {
	facts *Facts
	files []string
	dirs  int
}

func (p *factsParser) line(key, value string) error {
	if name, ok := strings.CutPrefix(key, "data."); ok {
		return p.content(name, value)
	}
	if len(value) > maxFactValue {
		return errors.New("too long")
	}
	if strings.ContainsFunc(value, func(r rune) bool { return r < ' ' || r > '~' }) {
		return errors.New("not printable ASCII")
	}
	if set, ok := factSetters[key]; ok {
		return set(p.facts, value)
	}
	if name, ok := strings.CutPrefix(key, "file."); ok {
		return p.file(name, value)
	}
	if name, ok := strings.CutPrefix(key, "dir."); ok {
		return p.dir(name, value)
	}
	return errors.New("unknown key")
}

// factSetters take one value each. "1" is true; what is false is left out by the script.
var factSetters = map[string]func(*Facts, string) error{
	"end":          func(*Facts, string) error { return nil },
	"uid":          func(f *Facts, v string) error { return setNumber(v, &f.UID) },
	"arch":         func(f *Facts, v string) error { f.Arch = remote.GOARCH(v); return nil },
	"os.id":        func(f *Facts, v string) error { f.OS.ID = v; return nil },
	"os.like":      func(f *Facts, v string) error { f.OS.Like = v; return nil },
	"os.version":   func(f *Facts, v string) error { f.OS.Version = v; return nil },
	"now":          func(f *Facts, v string) (err error) { f.Now, err = strconv.ParseInt(v, 10, 64); return err },
	"systemd":      func(f *Facts, v string) error { f.Systemd = versions.Major(v); return nil },
	"udev":         func(f *Facts, v string) error { return setTruth(v, &f.Udev) },
	"selinux":      func(f *Facts, v string) error { f.SELinux = v; return nil },
	"apparmor":     func(f *Facts, v string) error { return setTruth(v, &f.AppArmor) },
	"tbot.path":    func(f *Facts, v string) error { return setPath(v, &f.Tbot.Path) },
	"tools":        func(f *Facts, v string) error { f.Tools = strings.Fields(v); return nil },
	"tbot.link":    func(f *Facts, v string) error { return setPath(v, &f.Tbot.Link) },
	"tbot.sha256":  func(f *Facts, v string) error { f.Tbot.SHA256 = v; return nil },
	"tbot.version": func(f *Facts, v string) error { f.Tbot.Version = tbotVersion(v); return nil },
	"user.uid":     func(f *Facts, v string) error { return setNumber(v, &f.user().UID) },
	"user.groups":  func(f *Facts, v string) error { f.user().Groups = strings.Fields(v); return nil },
	"user.comment": func(f *Facts, v string) error { f.user().Comment = v; return nil },
	"group":        func(f *Facts, v string) error { return setTruth(v, &f.Group) },
	"access.group": func(f *Facts, v string) error { return setTruth(v, &f.Access) },
	"rules":        func(f *Facts, v string) error { return setPath(v, &f.Rules) },
	"device.path":  func(f *Facts, v string) error { return setPath(v, &f.Device.Path) },
	"device.type":  func(f *Facts, v string) error { return setWord(v, &f.Device.Type, "char", "socket", "other") },
	"device.stat": func(f *Facts, v string) error {
		return setStat(v, &f.Device.Mode, &f.Device.Owner, &f.Device.Group, nil)
	},
	"device.opens":     func(f *Facts, v string) error { return setWord(v, &f.Device.Opens, "ok", "denied", "busy", "failed") },
	"device.sysfs":     func(f *Facts, v string) error { return setTruth(v, &f.Device.Sysfs) },
	"device.tpm12":     func(f *Facts, v string) error { return setTruth(v, &f.Device.TPM12) },
	"storage.acl":      func(f *Facts, v string) error { return setWord(v, &f.Storage.ACL, "ok", "none") },
	"storage.usable":   func(f *Facts, v string) error { return setWord(v, &f.Storage.Usable, "ok", "denied") },
	"service.load":     func(f *Facts, v string) error { f.Service.Load = v; return nil },
	"service.active":   func(f *Facts, v string) error { f.Service.Active = v; return nil },
	"service.sub":      func(f *Facts, v string) error { f.Service.Sub = v; return nil },
	"service.enabled":  func(f *Facts, v string) error { f.Service.Enabled = v; return nil },
	"service.fragment": func(f *Facts, v string) error { f.Service.Fragment = v; return nil },
	"service.header":   func(f *Facts, v string) error { f.Service.Header = v; return nil },
	"service.reload":   func(f *Facts, v string) error { f.Service.Reload = v == "yes"; return nil },
	"service.restarts": func(f *Facts, v string) error { return setNumber(v, &f.Service.Restarts) },
	"service.result":   func(f *Facts, v string) error { f.Service.Result = v; return nil },
	"service.exit":     func(f *Facts, v string) error { return setNumber(v, &f.Service.ExitCode) },
	"ready":            func(f *Facts, v string) error { f.Ready = v; return nil },
	"pending":          func(f *Facts, v string) error { return setTruth(v, &f.Pending) },
}

func (f *Facts) user() *UserFacts {
	if f.User == nil {
		f.User = &UserFacts{}
	}
	return f.User
}

// file reads "TYPE MODE OWNER GROUP SIZE" of the managed file with that number.
func (p *factsParser) file(name, value string) error {
	i, err := strconv.Atoi(name)
	if err != nil || i < 0 || i >= len(p.files) {
		return errors.New("no file that was asked for")
	}
	var ff FileFacts
	kind, rest, _ := strings.Cut(value, " ")
	if err := setWord(kind, &ff.Type, "file", "link", "dir", "other"); err != nil {
		return err
	}
	if err := setStat(rest, &ff.Mode, &ff.Owner, &ff.Group, &ff.Size); err != nil {
		return err
	}
	p.facts.Files[p.files[i]] = ff
	return nil
}

func (p *factsParser) content(name, value string) error {
	i, err := strconv.Atoi(name)
	if err != nil || i < 0 || i >= len(p.files) || len(value) > 2*maxFileContent {
		return errors.New("no content that was asked for")
	}
	raw, err := hex.DecodeString(value)
	if err != nil {
		return err
	}
	ff, ok := p.facts.Files[p.files[i]]
	if !ok || ff.Type != "file" {
		return errors.New("content without a file")
	}
	ff.Content = string(raw)
	p.facts.Files[p.files[i]] = ff
	return nil
}

// dir reads "TYPE MODE OWNER GROUP SIZE" of the storage or of an output directory.
func (p *factsParser) dir(name, value string) error {
	var df DirFacts
	kind, rest, _ := strings.Cut(value, " ")
	if err := setWord(kind, &df.Type, "dir", "link", "other"); err != nil {
		return err
	}
	if err := setStat(rest, &df.Mode, &df.Owner, &df.Group, new(int64)); err != nil {
		return err
	}
	if name == "storage" {
		df.Usable, df.ACL = p.facts.Storage.Usable, p.facts.Storage.ACL
		p.facts.Storage = df
		return nil
	}
	i, err := strconv.Atoi(name)
	if err != nil || i < 0 || i >= p.dirs {
		return errors.New("no directory that was asked for")
	}
	p.facts.Dirs[i] = df
	return nil
}

// setStat reads "640 root teleport" and, where size isn't nil, a size after it.
func setStat(v string, mode *uint32, owner, group *string, size *int64) error {
	fields := strings.Fields(v)
	want := 3
	if size != nil {
		want = 4
	}
	if len(fields) != want {
		return errors.New("not mode, owner and group")
	}
	m, err := strconv.ParseUint(fields[0], 8, 16)
	if err != nil {
		return err
	}
	*mode, *owner, *group = uint32(m), fields[1], fields[2]
	if size != nil {
		*size, err = strconv.ParseInt(fields[3], 10, 64)
	}
	return err
}

func setNumber(v string, to *int) (err error) {
	*to, err = strconv.Atoi(v)
	return err
}

func setTruth(v string, to *bool) error {
	*to = v == "1"
	if !*to {
		return errors.New("not 1")
	}
	return nil
}

func setPath(v string, to *string) error {
	if !cleanPath(v) {
		return errors.New("not a clean absolute path")
	}
	*to = v
	return nil
}

func setWord(v string, to *string, allowed ...string) error {
	if !slices.Contains(allowed, v) {
		return fmt.Errorf("none of %s", strings.Join(allowed, ", "))
	}
	*to = v
	return nil
}
