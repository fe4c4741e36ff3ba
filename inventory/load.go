package inventory

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"fleetctl/inventory/values"
)

// stdin is the source that stands for standard input.
const stdin = "-"

// Load reads the sources in order; where two say different things, the later one wins. A source is a file (YAML, INI,
// JSON or host names, one a line), an executable that prints JSON when it is called with --list, a directory of these,
// "-" for standard input, or host names with a comma ("a,b" or "a,").
//
// A source that cannot be read or parsed is an error; most are an *Error, which names file, line and column.
func Load(ctx context.Context, sources []string, opts Options) (*Inventory, error) {
	l := &loader{graph: newGraph(), opts: opts, keys: &keys{ring: opts.Vault, ignore: opts.IgnoreVault}, ansible: &installed{opts: opts}}
	if opts.Trace {
		l.graph.origins = origins{}
	}
	var dirs []string
	for _, source := range sources {
		dir, err := l.source(ctx, source)
		if err != nil {
			return nil, err
		}
		l.sources = append(l.sources, source)
		if dir != "" {
			dirs = append(dirs, dir)
		}
	}
	if err := l.graph.finish(); err != nil {
		return nil, err
	}
	if l.adjacent {
		dirs = append(dirs, playbookDir(opts))
	}
	files, err := readVars(ctx, l.graph, dirs, l.keys, opts.Trace)
	if err != nil {
		return nil, err
	}
	inv := &Inventory{graph: l.graph, files: files, keys: l.keys}
	inv.scopes = newScopes(inv, opts)
	return inv, nil
}

func playbookDir(opts Options) string {
	if opts.PlaybookDir == "" {
		return "."
	}
	return opts.PlaybookDir
}

type loader struct {
	graph    *graph
	opts     Options
	keys     *keys
	sources  []string   // those that were read before
	ansible  *installed // the installed one
	adjacent bool       // a source other than standard input was read, so that the playbook directory counts
}

// source adds one source to the graph. It returns the directory whose group_vars and host_vars belong to the source.
func (l *loader) source(ctx context.Context, source string) (dir string, err error) {
	if source == stdin {
		return "", l.stdin(ctx)
	}
	l.adjacent = true
	info, err := os.Stat(source)
	switch {
	case err != nil && strings.ContainsRune(source, ','):
		return "", addHostList(l.graph, source)
	case errors.Is(err, fs.ErrNotExist) && looksLikeHost(source):
		return "", fmt.Errorf("inventory %s: %w; for a host of that name, put a comma behind it: %q", source, bare(err), source+",")
	case err != nil:
		return "", fmt.Errorf("inventory %s: %w", source, bare(err))
	case info.IsDir():
		return source, l.directory(ctx, source, 0)
	}
	return filepath.Dir(source), l.file(ctx, source)
}

// looksLikeHost says whether a source that is no file may be meant as the name of a host.
func looksLikeHost(source string) bool {
	switch filepath.Ext(source) {
	case ".yml", ".yaml", ".ini", ".json", ".cfg", ".toml", ".sh", ".py":
		return false
	}
	return isHostname(source)
}

// bare takes the file name out of the error, which names it already.
func bare(err error) error {
	var perr *os.PathError
	if errors.As(err, &perr) {
		return perr.Err
	}
	return err
}

func (l *loader) stdin(ctx context.Context) error {
	if l.opts.Stdin == nil {
		return errors.New("inventory -: there is no standard input to read")
	}
	data, err := io.ReadAll(l.opts.Stdin)
	if err != nil {
		return fmt.Errorf("inventory from standard input: %w", err)
	}
	return l.content(ctx, "<stdin>", "", data)
}

// directory reads the files of a directory and of those below it in ASCII order.
func (l *loader) directory(ctx context.Context, dir string, depth int) error {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return fmt.Errorf("inventory %s: %w", dir, bare(err))
	}
	if depth > 40 {
		return errorAt(Pos{File: dir}, "directories are nested too deeply, or in a circle of links")
	}
	rule, err := l.rule(ctx, dir, entries)
	if err != nil {
		return err
	}
	for _, e := range entries {
		name, path := e.Name(), filepath.Join(dir, e.Name())
		if rule.ignored(l.graph, path, name) {
			continue
		}
		info, err := os.Stat(path)
		switch {
		case err != nil:
			err = fmt.Errorf("inventory %s: %w", path, bare(err))
		case info.IsDir():
			err = l.directory(ctx, path, depth+1)
		default:
			err = l.file(ctx, path)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// file reads one file, which may be an executable.
func (l *loader) file(ctx context.Context, path string) error {
	ran, err := l.script(ctx, path)
	if ran || err != nil {
		return err
	}
	data, err := os.ReadFile(path)
	if err != nil {
		return fmt.Errorf("inventory %s: %w", path, bare(err))
	}
	return l.content(ctx, path, pythonExt(filepath.Base(path)), data)
}

// content reads an inventory in whichever format it is. The extension decides as it does for Ansible: .yml, .yaml, .json
// and no extension are YAML or JSON when they hold a mapping and INI otherwise; everything else is INI.
func (l *loader) content(ctx context.Context, file, ext string, data []byte) error {
	data, wasSealed, err := l.keys.file(ctx, file, data)
	if sealed := (*sealedFile)(nil); errors.As(err, &sealed) {
		return &Error{Pos: Pos{File: file, Line: 1, Column: 1}, Msg: "the file is " + values.ErrSealed.Error(), Err: sealed}
	}
	if err != nil {
		return fmt.Errorf("inventory %s: %w", file, err)
	}
	if wasSealed {
		l.graph.sealedBy = file
		defer func() { l.graph.sealedBy = "" }()
	}
	return concealed(l.plain(ctx, file, ext, data), wasSealed)
}

// plain reads an inventory that is not encrypted, or no more.
func (l *loader) plain(ctx context.Context, file, ext string, data []byte) error {
	if err := checkUTF8(file, data); err != nil {
		return err
	}
	data = bytes.TrimPrefix(data, []byte("\ufeff"))
	switch ext {
	case ".toml":
		return l.byAnsible(ctx, Pos{File: file}, "TOML inventories are read by Ansible alone")
	case "", ".yml", ".yaml", ".json":
		return l.structured(ctx, file, ext, data)
	}
	if pluginLine.Match(data) { // whatever the name, as no INI inventory has such a line
		if doc, err := parseYAML(file, data); err == nil && doc.plugin() != nil {
			return l.plugin(ctx, doc)
		}
	}
	lines, err := parseINI(file, data)
	if err != nil {
		return err
	}
	return addINI(l.graph, lines)
}

// structured reads YAML, JSON or, where it is neither, INI.
func (l *loader) structured(ctx context.Context, file, ext string, data []byte) error {
	if looksLikeJSON(data) {
		doc, err := parseJSON(file, data, true)
		if err == nil && doc.isMapping() {
			if isListing(doc) {
				return addListing(l.graph, doc, nil)
			}
			return addYAML(l.graph, doc)
		}
		if err != nil && ext == ".json" {
			return err
		}
	}
	doc, err := parseYAML(file, data)
	if err == nil && doc.plugin() != nil {
		return l.plugin(ctx, doc)
	}
	if err == nil && doc.isMapping() {
		return addYAML(l.graph, doc)
	}
	if err == nil && doc.root == nil {
		return nil // nothing but comments
	}
	lines, iniErr := parseINI(file, data)
	if iniErr == nil {
		return addINI(l.graph, lines)
	}
	if looksLikeYAML(ext, data) {
		if err == nil {
			err = errorAt(doc.pos(doc.root), "an inventory is a mapping of groups, not %s", kindName(doc.root))
		}
		return err
	}
	return iniErr
}

// looksLikeYAML decides which of two errors helps the user, where a file is neither YAML nor INI.
func looksLikeYAML(ext string, data []byte) bool {
	if ext != "" {
		return true
	}
	for line := range strings.Lines(string(data)) {
		line = strings.TrimSpace(line)
		switch {
		case line == "" || line[0] == '#' || line[0] == ';':
		case line[0] == '[':
			return false
		default:
			first, _, _ := strings.Cut(line, " ")
			return line == "---" || line[0] == '{' || line[0] == '-' || strings.HasSuffix(first, ":")
		}
	}
	return false
}
