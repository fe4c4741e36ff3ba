package inventory

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"gopkg.in/yaml.v3"

	"fleetctl/inventory/values"
)

// varsExtensions are tried in this order, the name alone first; the first one that exists counts.
var varsExtensions = []string{"", ".yml", ".yaml", ".json"}

// varsFiles is what stands in group_vars and host_vars of the directories, later directories winning.
type varsFiles struct {
	dirs   []string
	groups map[string][]fileVars // by group name; one element a directory
	hosts  map[string][]fileVars // by host name; one element a directory

	warnings []string
	keys     *keys
	trace    bool                // the places of variables are kept
	read     map[string]fileVars // by path, as a directory may come more than once
}

// fileVars is what the files of one group or host in one directory say.
type fileVars struct {
	vars   map[string]any
	places map[string]Pos // of the keys; nil: nobody will ask
	sealed []sealedFile
}

// readVars reads what the directories have for the groups and hosts of the graph.
func readVars(ctx context.Context, g *graph, dirs []string, k *keys, trace bool) (*varsFiles, error) {
	v := &varsFiles{
		dirs: dirs, groups: map[string][]fileVars{}, hosts: map[string][]fileVars{}, keys: k, trace: trace,
		read: map[string]fileVars{},
	}
	for i, dir := range dirs {
		groups := func(yield func(string) bool) {
			for _, grp := range g.groupOrder {
				if !yield(grp.name) {
					return
				}
			}
		}
		hosts := func(yield func(string) bool) {
			for _, h := range g.hostOrder {
				if !yield(h.name) {
					return
				}
			}
		}
		if err := v.readDir(ctx, v.groups, filepath.Join(dir, "group_vars"), i, groups); err != nil {
			return nil, err
		}
		if err := v.readDir(ctx, v.hosts, filepath.Join(dir, "host_vars"), i, hosts); err != nil {
			return nil, err
		}
	}
	return v, nil
}

// readDir reads one group_vars or host_vars directory, which is directory number i. It lists the directory once
// instead of looking for four files a host.
func (v *varsFiles) readDir(
	ctx context.Context, into map[string][]fileVars, dir string, i int, names func(func(string) bool),
) error {
	entries, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) || isNotDir(dir, err) {
		return nil
	}
	if err != nil {
		return err
	}
	present := make(map[string]bool, len(entries))
	for _, e := range entries {
		present[e.Name()] = true
	}
	for name := range names {
		path, ok := findVars(dir, name, present)
		if !ok {
			continue
		}
		f, known := v.read[path]
		if !known {
			if f, err = v.readPath(ctx, path); err != nil {
				return err
			}
			v.read[path] = f
		}
		if into[name] == nil {
			into[name] = make([]fileVars, len(v.dirs))
		}
		into[name][i] = f
	}
	return nil
}

// isNotDir says whether reading the directory failed because it is a file, which Ansible skips.
func isNotDir(path string, err error) bool {
	if err == nil {
		return false
	}
	info, statErr := os.Stat(path)
	return statErr == nil && !info.IsDir()
}

// findVars finds the file or directory with the variables of a name. A name is no way out of the directory.
func findVars(dir, name string, present map[string]bool) (string, bool) {
	if !filepath.IsLocal(name) {
		return "", false
	}
	nested := strings.ContainsRune(name, '/')
	for _, ext := range varsExtensions {
		if !nested && !present[name+ext] {
			continue
		}
		path := filepath.Join(dir, name+ext)
		if _, err := os.Stat(path); err == nil {
			return path, true
		}
	}
	return "", false
}

// readVarsPath reads a file, or all files of a directory in ASCII order.
func (v *varsFiles) readPath(ctx context.Context, path string) (fileVars, error) {
	files, err := varsFilesIn(path, 0)
	if err != nil {
		return fileVars{}, err
	}
	var all fileVars
	for _, file := range files {
		vars, err := v.readFile(ctx, file, &all)
		var sealed *sealedFile
		switch {
		case errors.As(err, &sealed):
			v.warnings = append(v.warnings, fmt.Sprintf("%s: skipped: the file is %v: %v", file, values.ErrSealed, sealed.err))
			if !v.keys.ignore {
				all.sealed = append(all.sealed, *sealed)
			}
		case err != nil:
			return fileVars{}, err
		case all.vars == nil:
			all.vars = vars
		default:
			maps.Copy(all.vars, vars)
		}
	}
	return all, nil
}

// varsFilesIn lists the files with variables at the path: itself, or what a directory holds except for hidden files,
// backups and foreign extensions. depth bounds circles of symbolic links.
func varsFilesIn(path string, depth int) ([]string, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if !info.IsDir() {
		return []string{path}, nil
	}
	if depth > 40 {
		return nil, &Error{Pos: Pos{File: path}, Msg: "directories are nested too deeply, or in a circle of links"}
	}
	entries, err := os.ReadDir(path)
	if err != nil {
		return nil, err
	}
	var files []string
	for _, e := range entries {
		name, full := e.Name(), filepath.Join(path, e.Name())
		ext := pythonExt(name)
		info, err := os.Stat(full)
		switch {
		case err != nil, name[0] == '.', strings.HasSuffix(name, "~"):
		case info.IsDir() && ext == "":
			more, err := varsFilesIn(full, depth+1)
			if err != nil {
				return nil, err
			}
			files = append(files, more...)
		case info.Mode().IsRegular() && slices.Contains(varsExtensions, ext):
			files = append(files, full)
		}
	}
	return files, nil
}

// pythonExt is the extension of a file name as os.path.splitext has it: leading dots begin no extension.
func pythonExt(name string) string {
	return filepath.Ext(strings.TrimLeft(name, "."))
}

// readFile reads one file. A file that is encrypted and that nothing decrypts is a *sealedFile.
func (v *varsFiles) readFile(ctx context.Context, path string, into *fileVars) (map[string]any, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	data, wasSealed, err := v.keys.file(ctx, path, data)
	if err != nil {
		return nil, err
	}
	doc, err := parseDocument(path, data)
	if err != nil || doc.root == nil {
		return nil, concealed(err, wasSealed)
	}
	value, err := doc.value(doc.root)
	if err != nil || isFalsy(value) {
		return nil, concealed(err, wasSealed)
	}
	vars, ok := value.(map[string]any)
	if !ok {
		return nil, errorAt(doc.pos(doc.root), "variables must be a mapping of names to values, not %s",
			kindName(follow(doc.root)))
	}
	vars = maps.Clone(vars)
	if v.trace {
		into.note(doc)
	}
	if wasSealed {
		for name, value := range vars {
			vars[name] = values.NewSecret(value, path)
		}
	}
	return vars, nil
}

// parseDocument reads JSON or YAML. Ansible tries JSON first, too: the two differ in escapes and in numbers.
func parseDocument(file string, data []byte) (*document, error) {
	if err := checkUTF8(file, data); err != nil {
		return nil, err
	}
	data = bytes.TrimPrefix(data, []byte("\ufeff"))
	if looksLikeJSON(data) {
		if doc, err := parseJSON(file, data, false); err == nil {
			return doc, nil
		}
	}
	return parseYAML(file, data)
}

// isMapping says whether the document is a mapping.
func (d *document) isMapping() bool {
	return d.root != nil && follow(d.root).Kind == yaml.MappingNode
}
