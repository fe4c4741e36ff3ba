package docs

import (
	"cmp"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"fleetctl/enroll/enrolltest/program"
)

const root = "../.."

// pages are all pages of the documentation.
func pages(t *testing.T) map[string]page {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(root, "docs", "*.md"))
	if err != nil {
		t.Fatal(err)
	}
	all := map[string]page{}
	for _, file := range append(files, filepath.Join(root, "README.md")) {
		name, err := filepath.Rel(root, file)
		if err != nil {
			t.Fatal(err)
		}
		if all[name], err = readPage(text(t, file)); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	return all
}

// TestPagesDoWhatTheyShow runs the terminals of every page, each page on a fleet of its own.
func TestPagesDoWhatTheyShow(t *testing.T) {
	fleetctl, bin := program.Fleetctl(t), ""
	ran := 0
	for name, p := range pages(t) {
		if len(p.steps) == 0 {
			continue
		}
		if bin == "" {
			bin = build(t, fleetctl)
		}
		ran++
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := begin(t, bin, p.setting)
			for _, step := range p.steps {
				s.do(t, name, step)
			}
		})
	}
	if ran == 0 {
		t.Error("no page has a terminal")
	}
}

// build builds the simulated fleet and the stand-in for tctl, beside the fleetctl under test.
func build(t *testing.T, fleetctl string) string {
	t.Helper()
	bin := t.TempDir()
	for _, p := range []struct{ module, command string }{{root, "./cmd/fleetsim"}, {"..", "./cluster/cmd/tctl"}} {
		cmd := exec.Command("go", "build", "-o", bin, p.command)
		cmd.Dir = p.module
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("go build %s: %v\n%s", p.command, err, out)
		}
	}
	if err := os.Symlink(fleetctl, filepath.Join(bin, "fleetctl")); err != nil {
		t.Fatal(err)
	}
	return bin
}

// session is somebody who follows a page: a directory, and a fleet that is there as long as the page is read.
type session struct{ dir, bin string }

// begin starts the fleet of a page. Its setting may have
//
//	hosts=N            how many hosts; 3 without it
//	mix=CONDITION=N,…  what is the matter with some of them, as for fleetsim
//	files=NAME,…       which of fleetsim's files the directory has; inventory.yaml without it
//	known_hosts=none   the hosts' keys are not known
func begin(t *testing.T, bin string, setting map[string]string) *session {
	t.Helper()
	if _, err := exec.LookPath("swtpm"); err != nil {
		program.Skip(t, "install swtpm: %v", err)
	}
	s := &session{dir: t.TempDir(), bin: bin}
	sim := t.TempDir()
	program.Fleet(t, filepath.Join(bin, "fleetsim"), "-dir", sim, "-n", cmp.Or(setting["hosts"], "3"), "-mix", setting["mix"], "-isolate", "yes")
	for name := range strings.SplitSeq(cmp.Or(setting["files"], "inventory.yaml"), ",") {
		s.write(t, name, text(t, filepath.Join(sim, name)))
	}
	if setting["known_hosts"] == "none" {
		if err := os.Remove(filepath.Join(sim, "known_hosts")); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Mkdir(filepath.Join(s.dir, ".home"), 0o700); err != nil {
		t.Fatal(err)
	}
	s.write(t, ".home/teleport.yaml", "teleport: {data_dir: "+filepath.Join(s.dir, ".home", "cluster")+"}\n")
	return s
}

func (s *session) write(t *testing.T, name, text string) {
	t.Helper()
	name = filepath.Join(s.dir, name)
	if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(name, []byte(text), 0o755); err != nil {
		t.Fatal(err)
	}
}

// do writes a file of the page, or runs a command.
func (s *session) do(t *testing.T, name string, step step) {
	t.Helper()
	if step.file != "" {
		s.write(t, step.file, simulated(step.text))
		return
	}
	cmd := exec.Command("bash", "-c", step.text)
	home := filepath.Join(s.dir, ".home")
	cmd.Dir = s.dir
	cmd.Env = append(os.Environ(), "PATH="+s.bin+":"+os.Getenv("PATH"), "HOME="+home, "SSH_AUTH_SOCK=", "CI=",
		"TELEPORT_CONFIG_FILE="+filepath.Join(home, "teleport.yaml"))
	out, err := cmd.CombinedOutput()
	code := 0
	if exit := (*exec.ExitError)(nil); errors.As(err, &exit) {
		code = exit.ExitCode()
	} else if err != nil {
		t.Fatal(err)
	}
	if code != step.code {
		t.Fatalf("%s:%d: %s ended with %d, not %d:\n%s", name, step.line, step.text, code, step.code, out)
	}
	if lost := missing(step.says, string(out)); lost != "" {
		t.Fatalf("%s:%d: %s doesn't say %q, or not in this order. It says:\n%s", name, step.line, step.text, lost, out)
	}
}

// simulated makes a page's fleet.yaml fit for simulated hosts: they say that they joined, and no cluster has heard of it.
func simulated(text string) string {
	return strings.Replace(text, "\ncluster:\n", "\ncluster:\n  verify: host\n", 1)
}

// TestCommandLinesExist holds fleetctl's command lines in blocks that aren't run against its help.
func TestCommandLinesExist(t *testing.T) {
	fleetctl := program.Fleetctl(t)
	help := map[string]string{}
	for name, p := range pages(t) {
		for _, c := range p.loose {
			words := commandWords(c.text)
			says, ok := help[words[0]]
			if !ok {
				says = helpOf(fleetctl, words[0])
				help[words[0]] = says
			}
			if says == "" {
				t.Errorf("%s:%d: fleetctl has no command %q", name, c.line, words[0])
				continue
			}
			for _, flag := range flagsOf(words[1:]) {
				if !regexp.MustCompile(`[\s,]` + regexp.QuoteMeta(flag) + `[\s,]`).MatchString(says) {
					t.Errorf("%s:%d: fleetctl %s has no flag %s", name, c.line, words[0], flag)
				}
			}
		}
	}
}

// commandWords are the words of a command line up to a comment.
func commandWords(line string) []string {
	line, _, _ = strings.Cut(line, "#")
	line, _, _ = strings.Cut(line, "|")
	if words := strings.Fields(line); len(words) > 0 {
		return words
	}
	return []string{""}
}

// helpOf is what a command and all of its subcommands say with --help; "" where there is no such command.
func helpOf(fleetctl, command string) string {
	if strings.HasPrefix(command, "-") {
		command = ""
	}
	out, err := exec.Command(fleetctl, strings.Fields(command+" --help")...).Output()
	if err != nil {
		return ""
	}
	text := string(out)
	for _, m := range regexp.MustCompile(`(?m)^   ([a-z-]+)(?:, [a-z]+)*  `).FindAllStringSubmatch(text, -1) {
		if command == "" {
			break
		}
		if sub, err := exec.Command(fleetctl, command, m[1], "--help").Output(); err == nil {
			text += string(sub)
		}
	}
	return text
}

// flagsOf are the names of the flags among words.
func flagsOf(words []string) []string {
	var flags []string
	for _, w := range words {
		if strings.HasPrefix(w, "-") && len(w) > 1 {
			flag, _, _ := strings.Cut(w, "=")
			flags = append(flags, flag)
		}
	}
	return flags
}
