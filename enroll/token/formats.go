package token

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"fleetctl/enroll/outcome"
	"fleetctl/enroll/store"
)

// Formats of token files.
const (
	FormatTctl       = "tctl"       // YAML for "tctl create -f"
	FormatTerraform  = "terraform"  // teleport_provision_token in Terraform's JSON syntax
	FormatKubernetes = "kubernetes" // TeleportProvisionToken for Teleport's Kubernetes operator
)

// endingOf is how the names of tokens' files end in a format.
func endingOf(format string) string {
	switch format {
	case FormatTerraform:
		return ".tf.json"
	case FormatKubernetes:
		return ".k8s.yaml"
	}
	return ".yaml"
}

// tokenOfFile is the name of the token that a file is of.
func tokenOfFile(name, format string) string { return strings.TrimSuffix(name, endingOf(format)) }

// FilesAs returns the files of the set in a format, by name. Terraform and Kubernetes get the tokens alone: bots are
// other resources there, with states of their own.
func (s *Set) FilesAs(format string) (map[string][]byte, error) {
	if format == FormatTctl || format == "" {
		return s.Files()
	}
	files := map[string][]byte{}
	for _, t := range s.Tokens {
		name := t.Name + endingOf(format)
		var content []byte
		var err error
		switch format {
		case FormatTerraform:
			content, err = t.terraform()
		case FormatKubernetes:
			content, err = t.kubernetes()
		default:
			return nil, fmt.Errorf("%w: format %q is none of tctl, terraform, kubernetes", outcome.ErrInput, format)
		}
		if err != nil {
			return nil, fmt.Errorf("token %s: %w", t.Name, err)
		}
		files[name] = content
	}
	return files, nil
}

// WriteAs is Write in a format. Files of another format in the directory are left alone.
func (s *Set) WriteAs(dir, format string) (changed []string, err error) {
	if err := s.lint(); err != nil {
		return nil, err
	}
	files, err := s.FilesAs(format)
	if err != nil {
		return nil, err
	}
	return writeFiles(dir, files, stale(format))
}

// stale returns which files of a directory are ours in a format.
func stale(format string) func(name string, head []byte) bool {
	marked := func(head []byte) bool { return bytes.HasPrefix(head, []byte(headerMark)) }
	switch format {
	case FormatTerraform:
		begin := []byte("{\n  \"//\": \"" + strings.TrimPrefix(headerMark, "# "))
		return func(name string, head []byte) bool {
			return strings.HasSuffix(name, ".tf.json") && bytes.HasPrefix(head, begin)
		}
	case FormatKubernetes:
		return func(name string, head []byte) bool { return strings.HasSuffix(name, ".k8s.yaml") && marked(head) }
	}
	return func(name string, head []byte) bool {
		return path.Ext(name) == ".yaml" && !strings.HasSuffix(name, ".k8s.yaml") && name != TombstoneFile && marked(head)
	}
}

// labelInFile is a label of ours in a file of any format.
var labelInFile = regexp.MustCompile(`(` + regexp.QuoteMeta(labelFleet) + `|` + regexp.QuoteMeta(labelEpoch) + `)"?:\s*"?([^"\s]+)"?`)

// NewerFiles are the files of a directory, in any format, with tokens that are newer than what the records know of them, or that
// the records don't know: they were made by records that are lost, or newer than these.
func NewerFiles(dir string, known []store.Token) ([]string, error) {
	var newer []string
	err := eachFile(dir, func(file, name string, st stamp) {
		of := func(t store.Token) bool { return t.Name == name && t.Epoch >= st.epoch }
		if st.epoch > 0 && !slices.ContainsFunc(known, of) {
			newer = append(newer, file)
		}
	})
	slices.Sort(newer)
	return newer, err
}

// FleetsOfFiles are the names of the fleets whose tokens are in the files of a directory, in any format, each once.
func FleetsOfFiles(dir string) ([]string, error) {
	var fleets []string
	err := eachFile(dir, func(_, _ string, st stamp) {
		if st.fleet != "" {
			fleets = append(fleets, st.fleet)
		}
	})
	slices.Sort(fleets)
	return slices.Compact(fleets), err
}

// eachFile calls do with the files of tokens in a directory, in any format: the name of the file and of its token, and whose it
// is. A directory that isn't there has none.
func eachFile(dir string, do func(file, token string, st stamp)) error {
	for _, format := range []string{FormatTctl, FormatTerraform, FormatKubernetes} {
		files, err := contentsOf(dir, stale(format))
		if err != nil {
			return err
		}
		for name, content := range files {
			labels := map[string]string{}
			for _, found := range labelInFile.FindAllSubmatch(content, -1) {
				labels[string(found[1])] = string(found[2])
			}
			do(name, tokenOfFile(name, format), stampOf(labels))
		}
	}
	return nil
}

// terraform writes the token in Terraform's JSON syntax (developer.hashicorp.com/terraform/language/syntax/json).
func (t Token) terraform() ([]byte, error) {
	d := documentOf(t)
	resource := struct {
		Version  string   `json:"version"`
		Metadata metadata `json:"metadata"`
		Spec     spec     `json:"spec"`
	}{d.Version, d.Metadata, d.Spec}
	doc := struct {
		Comment  string `json:"//"`
		Resource any    `json:"resource"`
	}{
		strings.TrimPrefix(strings.TrimSpace(header), "# "),
		map[string]any{"teleport_provision_token": map[string]any{terraformName(t.Name): resource}},
	}
	var out bytes.Buffer
	enc := json.NewEncoder(&out)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	if err := enc.Encode(doc); err != nil {
		return nil, err
	}
	return escapeTemplates(out.Bytes()), nil
}

// escapeTemplates keeps Terraform from reading ${…} and %{…} in strings as its template language.
func escapeTemplates(text []byte) []byte {
	text = bytes.ReplaceAll(text, []byte("${"), []byte("$${"))
	return bytes.ReplaceAll(text, []byte("%{"), []byte("%%{"))
}

var notInIdentifier = regexp.MustCompile(`[^A-Za-z0-9_-]`)

// terraformName is a Terraform identifier for a token: letters, digits, _ and -, not beginning with a digit.
func terraformName(name string) string {
	name = notInIdentifier.ReplaceAllString(name, "_")
	if name[0] >= '0' && name[0] <= '9' {
		name = "_" + name
	}
	return name
}

// kubernetesName is what Kubernetes takes as a resource's name (RFC 1123 subdomain).
var kubernetesName = regexp.MustCompile(`^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$`)

// kubernetes writes the token as a custom resource of Teleport's operator; its name is the token's name.
func (t Token) kubernetes() ([]byte, error) {
	if !kubernetesName.MatchString(t.Name) {
		return nil, fmt.Errorf("%w: Kubernetes takes no resource of this name; use lower-case letters, digits, '-' and '.'",
			outcome.ErrInput)
	}
	d := documentOf(t)
	return marshalYAML(header, struct {
		APIVersion string   `yaml:"apiVersion"`
		Kind       string   `yaml:"kind"`
		Metadata   metadata `yaml:"metadata"`
		Spec       spec     `yaml:"spec"`
	}{"resources.teleport.dev/v2", "TeleportProvisionToken", d.Metadata, d.Spec})
}

// Write writes bot.yaml and a file a token into a directory, and removes files of ours whose token is gone. It returns
// the names of files that changed, sorted. Every file is replaced at once or not at all: on a full disk the old one
// stays as it was.
func (s *Set) Write(dir string) (changed []string, err error) {
	return s.WriteAs(dir, FormatTctl)
}

// Differs returns the names of files that WriteAs would change, sorted.
func (s *Set) Differs(dir, format string) ([]string, error) {
	files, err := s.FilesAs(format)
	if err != nil {
		return nil, err
	}
	var names []string
	for _, name := range slices.Sorted(maps.Keys(files)) {
		if old, err := os.ReadFile(filepath.Join(dir, name)); err != nil || !bytes.Equal(old, files[name]) {
			names = append(names, name)
		}
	}
	entries, err := os.ReadDir(dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	ours := stale(format)
	for _, e := range entries {
		if files[e.Name()] == nil && e.Type().IsRegular() && ours(e.Name(), headOfFile(filepath.Join(dir, e.Name()))) {
			names = append(names, e.Name())
		}
	}
	slices.Sort(names)
	return names, nil
}
