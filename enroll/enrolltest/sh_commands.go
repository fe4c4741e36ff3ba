package enrolltest

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"path"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"fleetctl/enroll/enrolltest/shparse"
)

type shCommand func(s *shell, args []string) int

// shNatives are functions that fleetctl's scripts define on top and that the model has itself: what they do stands in
// the scripts' comments, how they do it on a real host is none of the model's business.
var shNatives map[string]shCommand

// shCommands are the programs of a host.
var shCommands map[string]shCommand

func init() { // they call each other by way of the tables
	shNatives = map[string]shCommand{
		"has": shHas, "kv": shKV, "asuser": shAsUser, "nologin": shNologin, "parents": shParents,
		"alone": shTrue, "changeable": shTrue, "stage": shStage, "sole": shSole,
		"makedir": shMakeDir, "own": shOwn, "rmfile": shRmFile, "gone": shGone, "opens": shOpens, "handover": shHandover,
		"empty": shEmpty, "emptyof": shEmptyOf, "tree": shTree,
	}
	shCommands = map[string]shCommand{
		":": shTrue, "true": shTrue, "false": func(*shell, []string) int { return 1 }, "export": shTrue,
		"echo": shEcho, "printf": shPrintf, "exit": shExit, "return": shLeave, "break": shLeave, "continue": shLeave,
		"set": shSet, "umask": shUmask, "[": shTest, "test": shTest,
		"command": shCommandV, "cat": shCat, "cut": shCut, "grep": shGrep, "stat": shStat, "sha256sum": shSHA256, "id": shID,
		"mkdir": shMkdir, "rmdir": shRmdir, "rm": shRm, "cp": shCp, "ln": shLn, "mv": shMv, "chown": shChown,
		"chgrp": shChgrp, "chmod": shChmod, "tar": shTar, "curl": shCurl, "wget": shWget, "bash": shBash, "exec": shExec,
		"useradd": shUseradd, "groupadd": shGroupadd, "usermod": shUsermod, "userdel": shUserdel, "groupdel": shGroupdel,
		"gpasswd": shGpasswd, "systemctl": shSystemctl, "udevadm": shUdevadm,
	}
}

// redirect opens what a command is connected to. The function that it returns writes what was redirected to files.
func (s *shell) redirect(redirs []shparse.Redir) (done func(), ok bool) {
	var after []func()
	done = func() {
		for _, f := range after {
			f()
		}
	}
	for _, r := range redirs {
		target := s.text(r.Target)
		switch {
		case r.Op == ">&" && target == "1" && r.Fd == 2:
			s.err = s.out
		case r.Op == ">&" && target == "2":
			s.out = s.err
		case r.Op == "<" && target == "/dev/null":
			s.in = strings.NewReader("")
		case r.Op == "<":
			f, _, err := s.host.s.follow(s.user, target)
			if err == nil && !s.host.s.may(s.user, f, 4) {
				err = errDenied
			}
			if err != nil {
				s.complain("sh: %s: %v", target, err)
				return done, false
			}
			s.in = bytes.NewReader(f.Content)
		case (r.Op == ">" || r.Op == ">>") && r.Fd < 3 && r.Fd != 0:
			to := io.Discard
			if target != "/dev/null" {
				file := &shFile{s: s, name: target, add: r.Op == ">>", err: s.err}
				if err := file.open(); err != nil {
					s.complain("sh: %s: %v", target, err)
					return done, false
				}
				to = file
			}
			if r.Fd == 2 {
				s.err = to
			} else {
				s.out = to
			}
		default:
			s.unknown("redirection %d%s%s", r.Fd, r.Op, target)
			return done, false
		}
	}
	return done, true
}

// shFile is a file that a command writes to.
type shFile struct {
	s    *shell
	name string
	add  bool
	err  io.Writer
}

func (f *shFile) open() error {
	return f.s.host.s.write(f.s.user, f.name, nil, f.add, f.s.umask)
}

// Write appends: open has emptied the file.
func (f *shFile) Write(b []byte) (int, error) {
	if err := f.s.host.s.write(f.s.user, f.name, b, true, f.s.umask); err != nil {
		return 0, fmt.Errorf("write error: %w", err)
	}
	return len(b), nil
}

func shTrue(*shell, []string) int { return 0 }

// say writes to stdout and complains where it cannot.
func (s *shell) say(program, text string) int {
	if _, err := io.WriteString(s.out, text); err != nil {
		return s.complain("%s: %v", program, err)
	}
	return 0
}

func shEcho(s *shell, args []string) int { return s.say("echo", strings.Join(args[1:], " ")+"\n") }

func shPrintf(s *shell, args []string) int {
	format := strings.NewReplacer(`\n`, "\n", `\t`, "\t").Replace(args[1])
	rest := args[2:]
	for {
		text := format
		for strings.Contains(text, "%s") && len(rest) > 0 {
			text = strings.Replace(text, "%s", rest[0], 1)
			rest = rest[1:]
		}
		if code := s.say("printf", strings.ReplaceAll(text, "%s", "")); code != 0 || len(rest) == 0 {
			return code
		}
	}
}

func shExit(s *shell, args []string) int {
	s.exited = true
	if len(args) > 1 {
		s.last, _ = strconv.Atoi(args[1]) // the scripts write numbers
	}
	return s.last
}

func shSet(s *shell, args []string) int {
	if len(args) != 2 || args[1] != "-e" {
		return s.unknown("%q", args)
	}
	s.errexit = true
	return 0
}

func shUmask(s *shell, args []string) int {
	n, err := strconv.ParseUint(args[len(args)-1], 8, 16)
	if err != nil {
		return s.unknown("%q", args)
	}
	s.umask = uint32(n)
	return 0
}

// tools that come and go; all others are on every host.
var optionalTools = []string{"bash", "curl", "wget", "dpkg", "rpm"}

func (s *shell) hasTool(name string) bool {
	if slices.Contains(optionalTools, name) {
		return slices.Contains(s.host.s.Tools, name)
	}
	switch name {
	case "systemctl":
		return s.host.s.Systemd > 0
	case "udevadm":
		return s.host.s.Udev
	case "getenforce":
		return s.host.s.SELinux != ""
	case "tbot":
		return s.host.s.Files[tbotPath] != nil
	}
	return shCommands[name] != nil
}

func shHas(s *shell, args []string) int { return truth(len(args) == 2 && s.hasTool(args[1])) }

func shCommandV(s *shell, args []string) int {
	if len(args) != 3 || args[1] != "-v" {
		return s.unknown("%q", args)
	}
	switch {
	case !s.hasTool(args[2]):
		return 1
	case args[2] == "tbot":
		return s.say("command", tbotPath+"\n")
	}
	return s.say("command", "/usr/bin/"+args[2]+"\n")
}

func shKV(s *shell, args []string) int {
	return s.say("printf", args[1]+"="+printableFact(args[2])+"\n")
}

// printableFact is what kv makes of a text.
func printableFact(v string) string {
	v = strings.NewReplacer("\n", " ", "\t", " ").Replace(v)
	v = strings.Map(func(r rune) rune {
		if r < ' ' || r > '~' {
			return -1
		}
		return r
	}, v)
	return v[:min(len(v), 1000)]
}

func shAsUser(s *shell, args []string) int {
	user := s.vars["U"]
	if s.host.s.Users[user] == nil {
		return 125
	}
	sub := s.host.newShell(s.ctx, user, s.in, s.out, s.err)
	sub.args = append([]string{"sh"}, args[2:]...)
	code := sub.script(args[1])
	s.exited = s.exited || sub.exited && code == exitNotFound
	return code
}

func shNologin(s *shell, _ []string) int {
	for _, c := range []string{"/usr/sbin/nologin", "/sbin/nologin", "/bin/false"} {
		if s.host.s.Files[c] != nil {
			return s.say("echo", c+"\n")
		}
	}
	return 0
}

func shParents(s *shell, args []string) int { return s.makeDirs(path.Dir(args[1]), 0o755) }

func shOpens(s *shell, args []string) int {
	return s.say("echo", s.host.tpmOpens(args[1], s.vars["U"])+"\n")
}

func shCat(s *shell, args []string) int {
	if len(args) > 1 {
		return s.unknown("%q", args)
	}
	// A large file comes in pieces: the lock is not held while the next one is waited for.
	data, err := s.host.unlocked(func() ([]byte, error) { return io.ReadAll(s.in) })
	if err != nil {
		return s.complain("cat: -: %v", err)
	}
	return s.say("cat", string(data))
}

func (s *shell) input() string {
	data, _ := io.ReadAll(s.in) // what was redirected or piped: no error can come
	return string(data)
}

func shCut(s *shell, args []string) int {
	if len(args) != 3 || !strings.HasPrefix(args[1], "-d") || args[2] != "-f1" {
		return s.unknown("%q", args)
	}
	for line := range strings.Lines(s.input()) {
		first, _, _ := strings.Cut(strings.TrimSuffix(line, "\n"), args[1][2:])
		s.say("cut", first+"\n")
	}
	return 0
}

func shSHA256(s *shell, _ []string) int {
	sum := sha256.Sum256([]byte(s.input()))
	return s.say("sha256sum", hex.EncodeToString(sum[:])+"  -\n")
}

// shGrep knows -q, -m 1 and -E, over stdin or /etc/group.
func shGrep(s *shell, args []string) int {
	quiet, words := false, []string{}
	for i := 1; i < len(args); i++ {
		switch {
		case args[i] == "-q":
			quiet = true
		case args[i] == "-E":
		case args[i] == "-m" && i+1 < len(args):
			i++
		case strings.HasPrefix(args[i], "-"):
			return s.unknown("%q", args)
		default:
			words = append(words, args[i])
		}
	}
	text := ""
	switch {
	case len(words) == 2 && words[1] == "/etc/group":
		for name, id := range s.host.s.Groups {
			var members []string
			for user, u := range s.host.s.Users {
				if slices.Contains(u.Groups, name) {
					members = append(members, user)
				}
			}
			text += fmt.Sprintf("%s:x:%d:%s\n", name, id, strings.Join(members, ","))
		}
	case len(words) == 1:
		text = s.input()
	default:
		return s.unknown("%q", args)
	}
	re, err := regexp.Compile(words[0])
	if err != nil {
		return s.unknown("%q: %v", args, err)
	}
	for line := range strings.Lines(text) {
		if line = strings.TrimSuffix(line, "\n"); re.MatchString(line) {
			if !quiet {
				s.say("grep", line+"\n")
			}
			return 0
		}
	}
	return 1
}

func shID(s *shell, args []string) int {
	if len(args) != 2 || args[1] != "-u" || s.host.s.Users[s.user] == nil {
		return s.unknown("%q", args)
	}
	return s.say("id", fmt.Sprintf("%d\n", s.host.s.Users[s.user].UID))
}

// shLeave is return, break and continue, of what is innermost.
func shLeave(s *shell, args []string) int {
	code := s.last
	if len(args) > 1 {
		if args[0] != "return" {
			return s.unknown("%q", args)
		}
		n, err := strconv.Atoi(args[1])
		if err != nil {
			return s.unknown("%q", args)
		}
		code = n
	}
	s.leaves, s.last = args[0], code
	return code
}
