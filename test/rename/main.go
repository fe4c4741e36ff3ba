// Command rename gives fleetctl's modules another path, for who publishes it under an address of their own. "make rename
// MODULE=example.com/x/fleetctl" runs it. It writes to the files of the repository that git knows of, and to nothing else.
package main

import (
	"bytes"
	"errors"
	"flag"
	"fmt"
	"go/format"
	"go/scanner"
	"go/token"
	"io/fs"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
)

func main() {
	root := flag.String("root", ".", "the repository's directory")
	flag.Parse()
	if flag.NArg() != 1 {
		fmt.Fprintln(os.Stderr, "usage: rename [-root DIR] MODULE")
		os.Exit(2)
	}
	if err := rename(*root, flag.Arg(0)); err != nil {
		fmt.Fprintln(os.Stderr, "rename:", err)
		os.Exit(1)
	}
}

// tree is a repository whose modules are renamed.
type tree struct{ root, from, to string }

func rename(root, to string) error {
	from, err := run(root, "go", "list", "-m")
	if err != nil {
		return err
	}
	t := tree{root, strings.TrimSpace(from), to}
	if err := t.check(); err != nil {
		return err
	}
	files, err := run(root, "git", "ls-files", "-z")
	if err != nil {
		return err
	}
	for name := range strings.SplitSeq(strings.TrimSuffix(files, "\x00"), "\x00") {
		if err := t.file(name); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
	}
	return nil
}

// check refuses what can't be the path of our module, before anything is written.
func (t tree) check() error {
	if t.to == "" || regexp.MustCompile(`/v[0-9]+$`).MatchString(t.to) {
		return fmt.Errorf("%q can't be the module's path: want one without a version, like example.com/x/fleetctl", t.to)
	}
	_, err := run(t.root, "go", "mod", "edit", "-print", "-module="+t.to)
	return err
}

func (t tree) file(name string) error {
	switch {
	case path.Base(name) == "go.mod":
		return t.goMod(name)
	case path.Ext(name) == ".go":
		return t.edit(name, t.goFile)
	case path.Base(name) == ".golangci.yml":
		return t.edit(name, t.linter)
	}
	return nil
}

// goMod renames the module, and what a nested one requires. The go command checks the path.
func (t tree) goMod(name string) error {
	dir := filepath.Join(t.root, filepath.Dir(name))
	module, err := run(dir, "go", "mod", "edit", "-print")
	if err != nil {
		return err
	}
	own, ok := strings.CutPrefix(strings.Fields(module)[1], t.from)
	if !ok {
		return errors.New("the module is none of ours")
	}
	edits := []string{"mod", "edit", "-module=" + t.to + own}
	if strings.Contains(module, "\nreplace "+t.from+" => ../\n") {
		edits = append(edits, "-droprequire="+t.from, "-dropreplace="+t.from,
			"-require="+t.to+"@v0.0.0-00010101000000-000000000000", "-replace="+t.to+"=../")
	}
	_, err = run(dir, "go", edits...)
	return err
}

// edit changes a file's text, if it changes.
func (t tree) edit(name string, change func(src []byte) ([]byte, error)) error {
	file := filepath.Join(t.root, name)
	src, err := os.ReadFile(file)
	if errors.Is(err, fs.ErrNotExist) { // git knows it, and somebody has removed it
		return nil
	}
	if err != nil {
		return err
	}
	changed, err := change(src)
	if err != nil || bytes.Equal(src, changed) {
		return err
	}
	return os.WriteFile(file, changed, 0o644) // the mode of a file that is there stays
}

// goFile renames in the string literals that hold a path of ours, and puts imports in order again.
func (t tree) goFile(src []byte) ([]byte, error) {
	var s scanner.Scanner
	var out bytes.Buffer
	set := token.NewFileSet()
	file := set.AddFile("", -1, len(src))
	s.Init(file, src, nil, 0)
	written := 0
	for {
		pos, tok, literal := s.Scan()
		if tok == token.EOF {
			break
		}
		if tok != token.STRING || !strings.Contains(literal, t.from) {
			continue
		}
		value, err := strconv.Unquote(literal)
		if renamed := t.literal(value); err == nil && renamed != value {
			at := file.Offset(pos)
			out.Write(src[written:at])
			out.WriteString(strconv.Quote(renamed))
			written = at + len(literal)
		}
	}
	if written == 0 {
		return src, nil
	}
	out.Write(src[written:])
	return format.Source(out.Bytes())
}

// literal renames a string that is a path of ours: the module, a package of it (which has a directory), the beginning of
// one, or the first line of go.mod. Others only begin alike, as the names of machine formats do.
func (t tree) literal(value string) string {
	if rest, ok := strings.CutPrefix(value, "module "+t.from+"\n"); ok {
		return "module " + t.to + "\n" + rest
	}
	rest, ok := strings.CutPrefix(value, t.from+"/")
	if !ok {
		return value
	}
	info, err := os.Stat(filepath.Join(t.root, strings.TrimSuffix(rest, "...")))
	if err != nil || !info.IsDir() {
		return value
	}
	return t.to + "/" + rest
}

// linter renames the packages that the linter's rules name.
func (t tree) linter(src []byte) ([]byte, error) {
	return bytes.ReplaceAll(src, []byte("pkg: "+t.from+"/"), []byte("pkg: "+t.to+"/")), nil
}

// run runs a command in a directory and returns what it prints.
func run(dir, name string, args ...string) (string, error) {
	cmd := exec.Command(name, args...)
	cmd.Dir = dir
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		return "", fmt.Errorf("%s %s: %w\n%s", name, strings.Join(args, " "), err, &stderr)
	}
	return string(out), nil
}
