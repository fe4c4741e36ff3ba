package host

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"fleetctl/enroll/outcome"
	"fleetctl/enroll/versions"
	"fleetctl/inventory"
	"fleetctl/remote"
	"fleetctl/templates"
)

// Step is one thing of a host that should be in a certain way. Either it is (Actions is empty and Reason says why there
// is nothing to do), or Actions make it so, or nothing can (Problem).
type Step struct {
	Name    string          `json:"step"`
	Reason  string          `json:"reason"`
	Actions []Action        `json:"actions,omitempty"`
	Undo    []Action        `json:"undo,omitempty"`    // puts back what was there, when a later step or the verification fails
	Diff    string          `json:"diff,omitempty"`    // of file contents, secrets masked
	Problem *outcome.Reason `json:"problem,omitempty"` // why the host can't be enrolled as things are

	Makes    Thing `json:"makes,omitzero"`     // what a removal takes away again
	Installs bool  `json:"installs,omitempty"` // it brings another tbot: facts and plan are made anew after it
}

// Changes says whether the step has something to do.
func (s Step) Changes() bool { return len(s.Actions) > 0 }

// Action is one thing that Apply does as root: a script or a file.
type Action struct {
	Script string       `json:"script,omitempty"`
	File   *remote.File `json:"file,omitempty"`
	Stdin  []byte       `json:"-"`               // what the script reads
	Push   *Push        `json:"push,omitempty"`  // a large file, before the script that uses it
	Start  bool         `json:"start,omitempty"` // tbot starts: wait a random time first, so that a fleet doesn't join in one second
}

// Plan compares what a host is like with what it should be like. It is pure: the same arguments give the same steps, in
// the order in which Apply runs them. After an Apply the next plan has no step that changes anything.
func Plan(h inventory.Host, f *Facts, d Desired) []Step {
	p := &planner{host: h, f: f, d: d}
	if !p.preconditions() {
		return p.steps
	}
	r, err := d.render(f)
	if err != nil {
		p.problem("templates", outcome.BadTemplate, err.Error(), "")
		return p.steps
	}
	p.files = r
	p.tbot()
	p.accounts()
	p.tpmAccess()
	p.storage()
	p.outputs()
	p.config()
	p.service()
	return p.steps
}

// Changes says whether a plan has anything to do.
func Changes(steps []Step) bool { return slices.ContainsFunc(steps, Step.Changes) }

// Problems are all that stand in the way of a plan.
func Problems(steps []Step) []outcome.Reason {
	var out []outcome.Reason
	for _, s := range steps {
		if s.Problem != nil {
			out = append(out, *s.Problem)
		}
	}
	return out
}

type planner struct {
	host    inventory.Host
	f       *Facts
	d       Desired
	files   *rendered
	steps   []Step
	restart []string // why tbot has to be restarted
	reload  bool     // systemd has to read its files again
}

func (p *planner) done(name, reason string, args ...any) {
	p.steps = append(p.steps, Step{Name: name, Reason: fmt.Sprintf(reason, args...)})
}

func (p *planner) do(name, reason string, actions ...Action) *Step {
	p.steps = append(p.steps, Step{Name: name, Reason: reason, Actions: actions})
	return &p.steps[len(p.steps)-1]
}

func (p *planner) problem(name string, code outcome.Code, message, hint string) {
	p.steps = append(p.steps, Step{Name: name, Reason: message, Problem: &outcome.Reason{Code: code, Message: message, Hint: cmp.Or(hint, outcome.Lookup(code).Do)}})
}

// preconditions are what no step can bring about.
func (p *planner) preconditions() bool {
	switch {
	case p.f.UID != 0:
		p.problem("root", outcome.BecomeFailed, fmt.Sprintf("the plan was made as user %d, not as root", p.f.UID),
			"let fleetctl become root on the host: ansible_become")
	case p.d.Token == "":
		p.problem("token", outcome.NoToken, "no token has a rule for this host",
			"scan it first: fleetctl scan")
	case p.f.Device.Path == "" && p.f.Device.TPM12:
		p.problem("TPM", outcome.TPM12, "the TPM is a 1.2, and tbot needs 2.0", "")
	case p.f.Device.Path == "":
		p.problem("TPM", outcome.NoTPM, "there is no TPM device",
			"enable the TPM in the firmware, or set tpm_device in the inventory")
	}
	return len(p.steps) == 0
}

// tbot has to be there before anything points to it.
func (p *planner) tbot() {
	if p.d.Install != nil {
		p.install()
		return
	}
	t := p.f.Tbot
	if t.Path == "" {
		where := "in PATH, /usr/local/bin or /opt/teleport"
		if p.d.Tbot.Binary != "" {
			where = "at " + string(p.d.Tbot.Binary)
		}
		p.problem("tbot", outcome.NoTbot, "tbot is not installed: there is none "+where,
			"install it, say where it is (tbot.binary), or let fleetctl install it (tbot.install.from)")
		return
	}
	if m := versions.Major(t.Version); m > 0 && versions.TooOld(t.Version) {
		p.problem("tbot", outcome.TbotTooOld, fmt.Sprintf("tbot %s doesn't know the tpm join method: it came with 15.3.0", t.Version),
			"install a newer tbot: the cluster's major version is best")
		return
	}
	reason := fmt.Sprintf("%s is there, version %s", t.Path, cmp.Or(t.Version, "unknown"))
	if err := versions.CheckVersion(t.Version, p.d.Version); err != nil {
		reason += "; " + err.Error()
	}
	p.done("tbot", "%s", reason)
}

// userComment marks an account as ours, so that a removal knows that it may go.
const userComment = "tbot, made by fleetctl"

// accounts are tbot's group and user.
func (p *planner) accounts() {
	t, q := p.d.Tbot, remote.Quote
	if t.User == "root" {
		p.done("user root", "it is always there")
		return
	}
	if p.f.Group {
		p.done("group "+t.Group, "it exists")
	} else {
		p.do("group "+t.Group, "it doesn't exist", Action{Script: addGroup(t.Group)}).Makes = Thing{Kind: ThingGroup, Name: t.Group}
	}
	if p.f.User != nil {
		p.done("user "+t.User, "it exists, uid %d", p.f.User.UID)
		return
	}
	p.do("user "+t.User, "it doesn't exist", Action{Script: fmt.Sprintf(`if has useradd; then
  useradd --system --gid %[2]s --no-create-home --home-dir %[3]s --shell "$(nologin)" --comment %[4]s %[1]s
else adduser -S -D -H -G %[2]s -h %[3]s -s "$(nologin)" -g %[4]s %[1]s
fi`, q(t.User), q(t.Group), q(string(t.Storage)), q(userComment))}).Makes = Thing{Kind: ThingUser, Name: t.User}
	p.restart = append(p.restart, "user "+t.User)
}

func addGroup(name string) string {
	return fmt.Sprintf("if has groupadd; then groupadd --system %[1]s; else addgroup -S %[1]s; fi", remote.Quote(name))
}

// storage is tbot's state: a directory that only its user can read. It is never emptied here.
func (p *planner) storage() {
	s, t, dir := p.f.Storage, p.d.Tbot, string(p.d.Tbot.Storage)
	name := "storage " + dir
	q := remote.Quote(dir)
	own := fmt.Sprintf(`chown %[1]s:%[2]s %[3]s
chmod 0700 %[3]s
U=%[1]s
asuser '[ -w "$1" ] && [ -x "$1" ]' %[3]s || { echo "user $U can't reach "%[3]s": a directory above it is closed" >&2; exit 1; }`,
		remote.Quote(t.User), remote.Quote(t.Group), q)
	switch {
	case s.Type == "link":
		p.problem(name, outcome.StorageLink, dir+" is a symbolic link",
			"whoever can change the link's target would get tbot's credentials: make it a directory, or set tbot.storage")
		return
	case s.Type == "other":
		p.problem(name, outcome.StorageNotDir, dir+" is there, but no directory", "move it away, or set tbot.storage")
		return
	case s.Usable == "denied" && t.User != "root" && (s.Type == "" || s.Owner == t.User):
		p.problem(name, outcome.StorageDenied, fmt.Sprintf("user %s can't reach %s: a directory above it is closed", t.User, dir),
			"a Teleport agent keeps /var/lib/teleport to root: set tbot.storage, e.g. /var/lib/tbot")
		return
	case s.Type == "":
		script := fmt.Sprintf("parents %s\nmkdir -m 0700 %s\n%s", q, q, own)
		p.do(name, "it doesn't exist", Action{Script: script}).Makes = Thing{Kind: ThingDir, Name: dir}
	case s.Owner != t.User || s.Group != t.Group || s.Mode != 0o700:
		p.do(name, fmt.Sprintf("it is %#o %s:%s, not 0700 %s:%s", s.Mode, s.Owner, s.Group, t.User, t.Group),
			Action{Script: "[ ! -L " + q + " ] || exit 1\n" + own})
	case s.ACL == "none":
		p.done(name, "0700, owned by %s; its file system has no ACLs, so tbot guards it by modes alone", t.User)
	default:
		p.done(name, "0700, owned by %s", t.User)
	}
}

// outputs are the directories that services write to; tbot can't make them itself inside its sandbox.
func (p *planner) outputs() {
	for i, dir := range outputDirs(p.d.Tbot.Services) {
		name := "output directory " + dir
		if got, ok := p.f.Dirs[i]; ok {
			p.done(name, "it exists, %#o %s:%s", got.Mode, got.Owner, got.Group)
			continue
		}
		q := remote.Quote(dir)
		p.do(name, "it doesn't exist", Action{Script: fmt.Sprintf("parents %s\nmkdir -m 0750 %s\nchown %s:%s %s",
			q, q, remote.Quote(p.d.Tbot.User), remote.Quote(p.d.Tbot.Group), q)}).Makes = Thing{Kind: ThingDir, Name: dir}
	}
}

// config is tbot.yaml.
func (p *planner) config() {
	path := string(p.d.Tbot.Config)
	f := remote.File{
		Path: path, Content: p.files.config, Mode: 0o640, Owner: "root", Group: p.d.Tbot.Group,
	}
	if p.file(path, f, true) {
		p.restart = append(p.restart, path)
	}
}

// file plans one file and says whether it changes. The previous one stays beside it: somebody else's as PATH.orig, for
// good; ours as PATH.previous where keep is set.
func (p *planner) file(name string, want remote.File, keep bool) bool {
	got, there := p.f.Files[want.Path]
	switch {
	case there && got.Type != "file":
		p.problem(name, outcome.NotAFile, fmt.Sprintf("%s is there, but it is no regular file (%s)", want.Path, got.Type),
			"move it away")
		return false
	case there && !Ours(got) && !p.d.Adopt:
		p.problem(name, outcome.NotOurs, want.Path+" was not written by fleetctl",
			"look at it; adopting replaces it and keeps it as "+want.Path+".orig")
		return false
	case there && got.Content == string(want.Content) && got.Mode == want.Mode && got.Owner == want.Owner && got.Group == want.Group:
		p.done(name, "it is as it should be")
		return false
	case there && got.Content == string(want.Content):
		p.do(name, fmt.Sprintf("it is %#o %s:%s, not %#o %s:%s", got.Mode, got.Owner, got.Group, want.Mode, want.Owner, want.Group),
			Action{File: &want})
		return true
	}
	step := Step{Name: name, Reason: "it doesn't exist", Diff: p.diff(got.Content, string(want.Content))}
	q := remote.Quote(want.Path)
	if there {
		step.Reason = "it differs"
		old := remote.File{Path: want.Path, Content: []byte(got.Content), Mode: got.Mode, Owner: got.Owner, Group: got.Group}
		if got.Size <= maxFileContent {
			step.Undo = []Action{{File: &old}}
		}
		switch {
		case !Ours(got):
			step.Reason = "somebody else wrote it, and it is adopted"
			step.Actions = append(step.Actions, Action{Script: fmt.Sprintf("[ -e %[1]s.orig ] || cp -p %[1]s %[1]s.orig", q)})
		case keep:
			step.Actions = append(step.Actions, Action{Script: fmt.Sprintf("cp -p %[1]s %[1]s.previous", q)})
		}
	} else {
		step.Actions = append(step.Actions, Action{Script: "parents " + q})
	}
	step.Actions = append(step.Actions, Action{File: &want})
	p.steps = append(p.steps, step)
	return true
}

// gone plans that a file of ours is not there, and says whether that changes anything. Somebody else's stays.
func (p *planner) gone(name, path, reason string) bool {
	got, there := p.f.Files[path]
	if !there || got.Type != "file" || !Ours(got) {
		return false
	}
	old := remote.File{Path: path, Content: []byte(got.Content), Mode: got.Mode, Owner: got.Owner, Group: got.Group}
	step := p.do(name, reason, Action{Script: "rm -f " + remote.Quote(path)})
	step.Undo = []Action{{File: &old}}
	step.Diff = p.diff(got.Content, "")
	return true
}

func (p *planner) diff(old, want string) string {
	return Unified(maskSecrets(old, p.d.Token), maskSecrets(want, p.d.Token))
}

// Ours says whether fleetctl wrote a file.
func Ours(f FileFacts) bool {
	first, _, _ := strings.Cut(f.Content, "\n")
	return strings.HasPrefix(first, templates.Marker)
}
