package versions

import (
	_ "embed"
	"fmt"
	"strings"
	"sync"

	"gopkg.in/yaml.v3"
)

//go:embed versions.yaml
var raw []byte

var facts = sync.OnceValue(func() *yaml.Node {
	var doc yaml.Node
	if err := yaml.Unmarshal(raw, &doc); err != nil {
		panic(err)
	}
	return doc.Content[0]
})

// at finds a fact by its path ("tbot.start.pid_file"); nil for none. Keys that hold a dot do not exist.
func at(path string) *yaml.Node {
	node := facts()
	for key := range strings.SplitSeq(path, ".") {
		if node = child(node, key); node == nil {
			return nil
		}
	}
	return node
}

func child(node *yaml.Node, key string) *yaml.Node {
	for i := 0; node.Kind == yaml.MappingNode && i+1 < len(node.Content); i += 2 {
		if node.Content[i].Value == key {
			return node.Content[i+1]
		}
	}
	return nil
}

// must is at for paths that the stand-ins rely on: a fact that is gone is an error in the program.
func must(path string) *yaml.Node {
	node := at(path)
	if node == nil {
		panic(fmt.Sprintf("versions.yaml has no %s", path))
	}
	return node
}

// span is a range of versions, both ends included; without To it has no end, and versions that nobody has seen yet
// are in it.
type span struct{ From, To string }

func (s span) has(v V) bool {
	return v.Compare(Must(s.From)) >= 0 && (s.To == "" || v.Compare(Must(s.To)) <= 0)
}

// fact is how versions.yaml says in which versions something is.
type fact struct {
	Ranges   []span
	From, To string
	Always   bool
}

// Has says whether a version has a fact. The fact may be {ranges: …}, {from: …}, {always: true}, one of the words always
// and never, or a list of the first versions of each line.
func Has(path string, v V) bool {
	node := must(path)
	if node.Kind == yaml.SequenceNode {
		return v.Since(List(path)...)
	}
	switch node.Value {
	case "always", "true":
		return true
	case "never", "false":
		return false
	}
	var f fact
	if err := node.Decode(&f); err != nil || len(f.Ranges) == 0 && f.From == "" && !f.Always {
		panic(fmt.Sprintf("versions.yaml: %s names no versions", path))
	}
	if f.From != "" {
		f.Ranges = append(f.Ranges, span{f.From, f.To})
	}
	for _, s := range f.Ranges {
		if s.has(v) {
			return true
		}
	}
	return f.Always
}

// Heard says whether there is a fact of that path at all.
func Heard(path string) bool { return at(path) != nil }

// Keys lists the names below a path, in the file's order.
func Keys(path string) []string {
	var keys []string
	node := must(path)
	for i := 0; i+1 < len(node.Content); i += 2 {
		keys = append(keys, node.Content[i].Value)
	}
	return keys
}

// List returns a list of words.
func List(path string) []string {
	var words []string
	if err := must(path).Decode(&words); err != nil {
		panic(fmt.Sprintf("versions.yaml: %s: %v", path, err))
	}
	return words
}

// Text returns words that a program prints, with pairs of what stands in them and what it is replaced by: "NAME", "x".
func Text(path string, pairs ...string) string {
	return strings.NewReplacer(pairs...).Replace(must(path).Value)
}
