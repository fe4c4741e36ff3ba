package host

import (
	"encoding/hex"
	"errors"
	"fleetctl/enroll/host/diff"
	"fleetctl/enroll/outcome"
	"fleetctl/remote"
	"fleetctl/templates"
	"fmt"
	"slices"
	"strings"
)

// fileSet are the files that a plan may write, by path.
type fileSet map[string]fileFacts

// fileFacts are of one file. A file that isn't there is not in the set.
type fileFacts struct {
	typ     string // file, link, dir or other
	mode    uint32
	owner   string
	group   string
	size    int64
	content string // of a regular file up to 64 KiB; "" of a larger one
	orig    string // of a PATH.orig beside it: the "same" content, or "other"; "" there is none
}

// managedFiles are all files that a plan may read or write.
func (d Desired) managedFiles() []string {
	files := []string{string(d.Tbot.Config), unitPath, hardeningPath, devicePath, updaterPath, rulesPath}
	for _, t := range ofKind(d.made, thingConfig) {
		if !slices.Contains(files, t.name) {
			files = append(files, t.name)
		}
	}
	return files
}

// managedFacts are of those files.
var managedFacts = factsOf{
	script: fileScript,
	calls: func(d Desired) []string {
		var calls []string
		for i, file := range d.managedFiles() {
			calls = append(calls, fmt.Sprintf("file %d %s\n", i, remote.Quote(file)))
		}
		return calls
	},
	each: map[string]func(*factsParser, int, string) error{"file": setFile, "data": setContent, "orig": setOrig},
	long: "data",
}

const fileScript = `file() {
  if [ -L "$2" ]; then t=link; elif [ -f "$2" ]; then t=file; elif [ -d "$2" ]; then t=dir
  elif [ -e "$2" ]; then t=other; else return 0; fi
  s=$(stat -c '%a %U %G %s' "$2") || return 0
  case $s in *UNKNOWN*) s=$(stat -c '%a %u %g %s' "$2");; esac
  echo "file.$1=$t $s"
  if [ -f "$2.orig" ] && [ "$t" = file ] && [ "$(sha256sum <"$2")" = "$(sha256sum <"$2.orig")" ]; then echo "orig.$1=same"
  elif [ -e "$2.orig" ]; then echo "orig.$1=other"; fi
  if [ "$t" = file ] && [ "${s##* }" -le 65536 ]; then
    printf 'data.%s=' "$1"; plain "$2" 2>/dev/null | od -An -v -tx1 | tr -d ' \n'; echo
  fi
}
`

// setFile reads "TYPE MODE OWNER GROUP SIZE" of the managed file with that number.
func setFile(p *factsParser, i int, value string) error {
	if i >= len(p.files) {
		return errors.New("no file that was asked for")
	}
	var ff fileFacts
	kind, rest, _ := strings.Cut(value, " ")
	if err := setWord(kind, &ff.typ, "file", "link", "dir", "other"); err != nil {
		return err
	}
	if err := setStat(rest, &ff.mode, &ff.owner, &ff.group, &ff.size); err != nil {
		return err
	}
	p.facts.files[p.files[i]] = ff
	return nil
}

// setContent reads a managed file's bytes, in hex.
func setContent(p *factsParser, i int, value string) error {
	if i >= len(p.files) {
		return errors.New("no content that was asked for")
	}
	raw, err := hex.DecodeString(value)
	if err != nil {
		return err
	}
	ff, ok := p.facts.files[p.files[i]]
	if !ok || ff.typ != "file" {
		return errors.New("content without a file")
	}
	ff.content = string(raw)
	p.facts.files[p.files[i]] = ff
	return nil
}

func setOrig(p *factsParser, i int, value string) error {
	if i >= len(p.files) {
		return errors.New("no file that was asked for")
	}
	ff := p.facts.files[p.files[i]]
	err := setWord(value, &ff.orig, "same", "other")
	p.facts.files[p.files[i]] = ff
	return err
}

// ours says whether fleetctl wrote a file.
func (f fileFacts) ours() bool {
	first, _, _ := strings.Cut(f.content, "\n")
	return strings.HasPrefix(first, templates.Marker)
}

// is says whether a file is what it should be, but for its content.
func (f fileFacts) is(want remote.File) bool {
	return f.mode == want.Mode && f.owner == want.Owner && f.group == want.Group
}

// back is the action that brings the file back as it was.
func (f fileFacts) back(path string) action {
	return action{file: &remote.File{Path: path, Content: []byte(f.content), Mode: f.mode, Owner: f.owner, Group: f.group}}
}

// Enrolled says whether any file is there that fleetctl wrote.
func (f *Facts) Enrolled() bool {
	for _, file := range f.files {
		if file.ours() {
			return true
		}
	}
	return false
}

// file plans one file and says whether it changes. The previous one stays beside it: somebody else's as PATH.orig, for
// good; ours as PATH.previous where keep is set.
func (p *planner) file(name string, want remote.File, keep bool) bool {
	got, there := p.f.files[want.Path]
	same := there && got.content == string(want.Content)
	switch {
	case there && got.typ != "file":
		p.problem(name, outcome.NotAFile, fmt.Sprintf("%s is there, but it is no regular file (%s)", want.Path, got.typ),
			"move it away")
		return false
	case there && got.size > maxFileContent:
		p.problem(name, outcome.NotAFile, fmt.Sprintf("%s is too large for what it is called: %d bytes", want.Path, got.size),
			"move it away")
		return false
	case there && !got.ours() && !p.d.Adopt:
		p.problem(name, outcome.NotOurs, want.Path+" was not written by fleetctl",
			"look at it; adopting replaces it and keeps it as "+want.Path+".orig")
		return false
	case there && !got.ours() && got.orig == "other":
		p.problem(name, outcome.NotOurs, fmt.Sprintf("%[1]s.orig is there already, and it is no copy of %[1]s", want.Path),
			"move it away: adopting keeps the file by that name")
		return false
	case same && got.is(want):
		p.done(name, "it is as it should be")
		return false
	case same:
		step := p.do(name, fmt.Sprintf("it is %#o %s:%s, not %#o %s:%s", got.mode, got.owner, got.group, want.Mode, want.Owner, want.Group),
			guarded(want.Path), action{file: &want}) // anew: root changes no file by its name
		step.undo, step.configures = []action{got.back(want.Path)}, true
		return true
	}
	step := Step{Name: name, Reason: "it doesn't exist", Diff: p.diff(got.content, string(want.Content)), configures: true}
	step.undo = p.fileUndo(got, there, want.Path, keep)
	if !there {
		step.also = append(p.aboveOf(want.Path), Thing{kind: thingNew, name: want.Path})
	}
	if there {
		step.Reason = "it differs"
		if !got.ours() {
			step.Reason = "somebody else wrote it, and it is adopted"
		}
	}
	step.actions = append(prepareFor(got, there, want.Path, keep), action{file: &want})
	p.steps = append(p.steps, step)
	return true
}

// fileUndo brings back what was there, or takes away what came new beside a tbot that goes on.
func (p *planner) fileUndo(got fileFacts, there bool, path string, keep bool) []action {
	q := remote.Quote(path)
	switch {
	case there && !got.ours() && got.orig == "": // the copy has what a content has not: access control lists
		return []action{{script: fmt.Sprintf("mv -f %[1]s.orig %[1]s", q)}}
	case there && got.ours() && keep:
		return []action{{script: fmt.Sprintf("mv -f %[1]s.previous %[1]s", q)}}
	case there:
		return []action{got.back(path)}
	case p.goesBack():
		script := removeFile(path)
		for _, t := range p.aboveOf(path) {
			script += fmt.Sprintf("\ngone %s || :", remote.Quote(t.name))
		}
		return []action{{script: script}}
	}
	return nil
}

// guarded makes the directory of a file, which root alone may be able to change.
func guarded(path string) action { return action{script: "parents " + remote.Quote(path)} }

// prepareFor is what has to be done before a file is written: its directory, and a copy of the one that is there.
func prepareFor(got fileFacts, there bool, path string, keep bool) []action {
	q, a := remote.Quote(path), guarded(path)
	switch {
	case there && !got.ours():
		a.script += fmt.Sprintf("\n[ -e %[1]s.orig ] || cp -p %[1]s %[1]s.orig", q)
	case there && keep:
		a.script += fmt.Sprintf("\ncp -p %[1]s %[1]s.previous", q)
	}
	return []action{a}
}

// gone plans that a file of ours is not there, and says whether that changes anything. Somebody else's stays.
func (p *planner) gone(name, path, reason string) bool {
	got, there := p.f.files[path]
	if !there || got.typ != "file" || !got.ours() {
		return false
	}
	step := p.do(name, reason, action{script: removeFile(path)})
	step.undo, step.configures = []action{got.back(path)}, true
	step.Diff = p.diff(got.content, "")
	return true
}

func (p *planner) diff(old, want string) string {
	return diff.Unified(diff.MaskSecrets(old, p.d.token), diff.MaskSecrets(want, p.d.token))
}

// fileAway plans that a file of ours goes, with what was kept beside it; an adopted file comes back.
func (p *removal) fileAway(name, file string) bool {
	got, there := p.f.files[file]
	switch {
	case !there:
		return false
	case !got.ours():
		p.done(name, "%s is not ours: it stays", file)
		return false
	}
	q := remote.Quote(file)
	script := fmt.Sprintf("if [ -e %[1]s.orig ]; then\n  parents %[1]s\n  mv -f %[1]s.orig %[1]s\nelse %[2]s; fi\n%[3]s", q,
		removeFile(file), removeFile(file+".previous"))
	if p.wasMade(thingNew, file) { // a copy beside it is somebody else's
		script = removeFile(file, file+".previous")
	}
	step := p.do(name, "fleetctl wrote "+file, action{script: script})
	step.Diff = p.diff(got.content, "")
	return true
}
