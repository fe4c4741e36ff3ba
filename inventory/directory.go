package inventory

import (
	"context"
	"fmt"
	"io/fs"
	"regexp"
	"slices"
	"strings"
)

// ignoredExtensions are what every Ansible skips in a directory of inventories; up to 2.18, it skips .ini, too.
var ignoredExtensions = []string{
	".pyc", ".pyo", ".swp", ".bak", "~", ".rpm", ".md", ".txt", ".rst", ".orig", ".cfg", ".retry",
}

// dirRule says which files of a directory are no inventories.
type dirRule struct {
	extensions []string
	patterns   []*regexp.Regexp
	why        string // *.ini is skipped, where it is
}

// rule is what the user's settings say, else what the installed Ansible does, else what ansible-core 2.19 does. It is for
// a directory with these entries.
func (l *loader) rule(ctx context.Context, dir string, entries []fs.DirEntry) (dirRule, error) {
	r := dirRule{extensions: l.opts.IgnoredExtensions, why: "the settings of Ansible skip"}
	for _, p := range l.opts.IgnoredPatterns {
		re, err := regexp.Compile(p)
		if err != nil {
			return r, fmt.Errorf("inventory_ignore_patterns: %w", err)
		}
		r.patterns = append(r.patterns, re)
	}
	if r.extensions != nil {
		return r, nil
	}
	r.extensions = ignoredExtensions
	if !slices.ContainsFunc(entries, func(e fs.DirEntry) bool { return strings.HasSuffix(e.Name(), ".ini") }) {
		return r, nil
	}
	major, minor, version := l.ansible.version(ctx)
	switch {
	case ctx.Err() != nil:
		return r, ctx.Err()
	case version == "":
		l.graph.warn(Pos{File: dir}, "its *.ini are read, as ansible-core 2.19 does; up to 2.18 it skips them (no Ansible was asked)")
	case major > 2 || minor >= 19:
		l.graph.warn(Pos{File: dir}, "its *.ini are read, as the installed ansible-core %s does; up to 2.18 it skips them", version)
	default:
		r.extensions = append(slices.Clone(ignoredExtensions), ".ini")
		r.why = "the installed ansible-core " + version + " skips"
	}
	return r, nil
}

// ignored says whether a file or directory is no inventory. It tells the user where that is not obvious.
func (r dirRule) ignored(g *graph, path, name string) bool {
	if name[0] == '.' || name == "group_vars" || name == "host_vars" || name == "vars_plugins" {
		return true
	}
	for _, re := range r.patterns {
		if re.MatchString(name) {
			return true
		}
	}
	for _, ext := range r.extensions {
		if !strings.HasSuffix(name, ext) {
			continue
		}
		if ext == ".ini" {
			g.warn(Pos{File: path}, "skipped: %s *.ini in a directory of inventories", r.why)
		} else if ext == ".cfg" {
			g.warn(Pos{File: path}, "skipped: Ansible ignores *.cfg in a directory of inventories")
		}
		return true
	}
	return false
}
