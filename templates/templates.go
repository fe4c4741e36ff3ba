// Package templates owns what lands on a host: it embeds the default templates, reads replacements from a directory,
// and renders them. It knows neither hosts nor how files get there.
package templates

import (
	"bytes"
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"text/template"
)

// Names of the templates. A directory given to Load may replace any of them, by these file names.
const (
	TbotConfig  = "tbot.yaml"      // /etc/tbot.yaml
	Unit        = "tbot.service"   // the systemd unit
	Hardening   = "hardening.conf" // drop-in: the sandbox, can be switched off
	Device      = "device.conf"    // drop-in: gives the TPM device to the group at each start, where no udev does it
	UpdaterUnit = "updater.conf"   // drop-in for a unit that Teleport's own updater owns
	UdevRules   = "tpm.rules"      // udev rules, where no package brought them
)

// Marker begins the first line of every file that fleetctl writes: a file without it is somebody else's.
const Marker = "# Written by fleetctl enroll"

//go:embed files
var embedded embed.FS

// Data is what every template gets.
type Data struct {
	Header string         // the comment that has to stand on top of the file; it begins with Marker
	Host   string         // the host's name in the inventory
	Groups []string       // its groups, sorted
	Vars   map[string]any // its inventory variables, without those that begin with ansible_
	Token  string         // the name of the provision token it joins with

	User   string // who tbot runs as
	Group  string // its primary group in the unit
	Access string // the group that may open the TPM ("tss"); "" when tbot runs as root

	Binary   string // path of tbot
	Config   string // path of tbot.yaml
	Storage  string // path of its storage directory
	Device   string // path of the TPM, a character device; "" when it is none
	DiagAddr string // host:port of /livez and /readyz; may be empty

	TbotYAML string   // tbot.yaml as fleetctl makes it, without a header
	Outputs  []string // directories that services of tbot.yaml write to
	Program  string   // where Binary leads to, when it is a symbolic link
	Systemd  int      // the host's systemd, e.g. 252; directives that it does not know are left out

	UpdaterFlags []string // of updater.conf: flags of tbot start by which Teleport's updater can watch it
	UpdaterLinks []Link   // of updater.conf: where the updater looks, if tbot can't write there
}

// Link is a symbolic link.
type Link struct {
	At string // its own path
	To string // what it points to
}

// Dir is the directory that the link lies in.
func (l Link) Dir() string { return path.Dir(l.At) }

// Root says whether tbot runs as root.
func (d Data) Root() bool { return d.User == "root" }

// ResourceManager says whether the device is one of the kernel's resource managers, /dev/tpmrmN.
func (d Data) ResourceManager() bool { return strings.HasPrefix(d.Device, "/dev/tpmrm") }

// Below says whether anything that tbot reads, executes or writes lies in one of the directories: a sandbox must not hide those.
func (d Data) Below(dirs ...string) bool {
	for _, out := range append([]string{d.Storage, d.Binary, d.Program, d.Config}, d.Outputs...) {
		for _, dir := range dirs {
			if out == dir || strings.HasPrefix(out, dir+"/") {
				return true
			}
		}
	}
	return false
}

// Set is a set of parsed templates, complete.
type Set struct {
	byName   map[string]*template.Template
	replaced map[string]bool
}

// Load parses the embedded templates, and those in dir in place of them; "" means none. A file in dir that replaces
// nothing is an error: its name is likely misspelt.
func Load(dir string) (*Set, error) {
	s := &Set{byName: map[string]*template.Template{}, replaced: map[string]bool{}}
	for _, name := range Names() {
		text, err := embedded.ReadFile("files/" + name)
		if err != nil {
			return nil, err
		}
		if err := s.parse(name, string(text)); err != nil {
			return nil, err
		}
	}
	if dir == "" {
		return s, nil
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, fmt.Errorf("templates: %w", err)
	}
	for _, e := range entries {
		if err := s.replace(dir, e); err != nil {
			return nil, err
		}
	}
	return s, nil
}

func (s *Set) replace(dir string, e fs.DirEntry) error {
	file := filepath.Join(dir, e.Name())
	if strings.HasPrefix(e.Name(), ".") || strings.HasSuffix(e.Name(), "~") || strings.HasSuffix(e.Name(), ".md") {
		return nil
	}
	if !slices.Contains(Names(), e.Name()) {
		return fmt.Errorf("templates: %s replaces nothing: the names are %s", file, strings.Join(Names(), ", "))
	}
	text, err := os.ReadFile(file)
	if err != nil {
		return fmt.Errorf("templates: %w", err)
	}
	s.replaced[e.Name()] = true
	return s.parse(e.Name(), string(text))
}

func (s *Set) parse(name, text string) error {
	t, err := template.New(name).Option("missingkey=error").Parse(text)
	if err != nil {
		return fmt.Errorf("templates: %w", err)
	}
	s.byName[name] = t
	return nil
}

// Names returns the names of all templates, sorted.
func Names() []string {
	return []string{Device, Hardening, Unit, TbotConfig, UdevRules, UpdaterUnit}
}

// Replaced says whether a template came from the user's directory.
func (s *Set) Replaced(name string) bool { return s.replaced[name] }

// Render executes a template. The result begins with d.Header, whether the template writes it or not, and ends with a
// newline. A NUL byte or a carriage return in it is an error.
func (s *Set) Render(name string, d Data) ([]byte, error) {
	t, ok := s.byName[name]
	if !ok {
		return nil, fmt.Errorf("templates: there is none called %q", name)
	}
	var b bytes.Buffer
	if err := t.Execute(&b, d); err != nil {
		return nil, fmt.Errorf("templates: %w", err)
	}
	out := b.Bytes()
	if bytes.ContainsAny(out, "\x00\r") {
		return nil, fmt.Errorf("templates: %s: %w", name, errControl)
	}
	if !bytes.HasPrefix(out, []byte(Marker)) {
		out = append([]byte(strings.TrimRight(d.Header, "\n")+"\n"), out...)
	}
	return append(bytes.TrimRight(out, "\n"), '\n'), nil
}

var errControl = errors.New("the result holds a NUL byte or a carriage return")
