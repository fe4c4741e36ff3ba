package config_test

import (
	"bytes"
	"flag"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"reflect"
	"regexp"
	"strings"
	"testing"

	"fleetctl/enroll/config"
)

var update = flag.Bool("update", false, "write docs/fleet-yaml.md anew")

const referenceFile = "../../docs/fleet-yaml.md"

const referenceIntro = `# fleet.yaml

<!-- Made by "go test ./enroll/config -run FleetYAML -update": don't edit it. -->

Every key of fleet.yaml. "fleetctl init" writes one to start from; [examples/](../examples) has several. Unknown keys are errors with
file and line, and so is a second YAML document. Paths on the controller are relative to the file's directory. A key without a
default may be left out, unless it is marked as needed.
`

// TestFleetYAMLIsDocumented holds docs/fleet-yaml.md against the types that fleet.yaml is read into.
func TestFleetYAMLIsDocumented(t *testing.T) {
	t.Parallel()
	r := reference{t: t, structs: structs(t, "config.go")}
	r.b.WriteString(referenceIntro)
	r.section("", reflect.ValueOf(config.Default()))
	if *update {
		if err := os.WriteFile(referenceFile, r.b.Bytes(), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	got, err := os.ReadFile(referenceFile)
	if err != nil || !bytes.Equal(got, r.b.Bytes()) {
		t.Errorf("%s is stale: run \"go test ./enroll/config -run FleetYAML -update\" (%v)", referenceFile, err)
	}
}

// reference is the document while it is written.
type reference struct {
	t       *testing.T
	structs map[string]structDoc
	b       bytes.Buffer
}

// structDoc is what the source says of a struct.
type structDoc struct {
	doc    string
	fields map[string]string
}

// structs reads the comments of a file's structs and their fields.
func structs(t *testing.T, file string) map[string]structDoc {
	t.Helper()
	f, err := parser.ParseFile(token.NewFileSet(), file, nil, parser.ParseComments)
	if err != nil {
		t.Fatal(err)
	}
	docs := map[string]structDoc{}
	ast.Inspect(f, func(n ast.Node) bool {
		decl, ok := n.(*ast.GenDecl)
		if !ok || decl.Tok != token.TYPE {
			return true
		}
		for _, s := range decl.Specs {
			spec := s.(*ast.TypeSpec)
			if st, ok := spec.Type.(*ast.StructType); ok {
				docs[spec.Name.Name] = structDoc{oneLine(decl.Doc.Text()), fieldDocs(st)}
			}
		}
		return true
	})
	return docs
}

func fieldDocs(st *ast.StructType) map[string]string {
	docs := map[string]string{}
	for _, f := range st.Fields.List {
		for _, name := range f.Names {
			docs[name.Name] = oneLine(f.Doc.Text())
		}
	}
	return docs
}

func oneLine(s string) string { return strings.Join(strings.Fields(s), " ") }

// section writes the table of a struct, then a section for each struct in it.
func (r *reference) section(key string, v reflect.Value) {
	s := r.structs[v.Type().Name()]
	if key != "" {
		fmt.Fprintf(&r.b, "\n## %s\n\n%s\n", key, aboutKey(s.doc, v.Type().Name()))
	}
	fmt.Fprint(&r.b, "\n| key | value | default | |\n|---|---|---|---|\n")
	var nested []reflect.StructField
	for _, f := range reflect.VisibleFields(v.Type()) {
		name, _, mayMiss := strings.Cut(f.Tag.Get("yaml"), ",") // omitempty
		switch {
		case !f.IsExported():
			continue
		case f.Type.Kind() == reflect.Struct:
			nested = append(nested, f)
			fmt.Fprintf(&r.b, "| `%s` | mapping | | see [below](#%s) |\n", name, anchor(join(key, name)))
			continue
		}
		doc := s.fields[f.Name]
		if doc == "" || name == "" {
			r.t.Errorf("%s.%s needs a comment before it, and a key: the reference is made of them", v.Type().Name(), f.Name)
		}
		value := v.FieldByIndex(f.Index)
		fmt.Fprintf(&r.b, "| `%s` | %s | %s | %s |\n", name, valueOf(f.Type), defaultOf(value, mayMiss), cell(doc))
	}
	for _, f := range nested {
		name, _, _ := strings.Cut(f.Tag.Get("yaml"), ",")
		r.section(join(key, name), v.FieldByIndex(f.Index))
	}
}

func join(key, name string) string { return strings.TrimPrefix(key+"."+name, ".") }

// anchor is how GitHub names a heading.
func anchor(heading string) string { return strings.ReplaceAll(heading, ".", "") }

// aboutKey makes a sentence about a key of a comment about a type: "Bot is the bot…" becomes "The bot…".
func aboutKey(doc, name string) string {
	rest := regexp.MustCompile(`^`+name+` (is|are|says) `).ReplaceAllString(doc, "")
	return strings.ToUpper(rest[:1]) + rest[1:]
}

// valueOf says what may stand behind a key.
func valueOf(t reflect.Type) string {
	if t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	switch {
	case t.Name() == "Duration":
		return "time, `90s`, `20m`, `1h`"
	case t.Name() == "Share":
		return "number, or `20%`"
	case t.Name() == "Path":
		return "path on the host"
	case t.Kind() == reflect.Bool:
		return "`true`, `false`"
	case t.Kind() == reflect.Int:
		return "number"
	case t.Kind() == reflect.Slice && t.Elem().Kind() == reflect.Map:
		return "list of mappings"
	case t.Kind() == reflect.Slice:
		return "list of texts"
	case t.Kind() == reflect.Map:
		return "mapping of texts"
	}
	return "text"
}

func defaultOf(v reflect.Value, mayMiss bool) string {
	switch {
	case !v.IsZero():
		return fmt.Sprintf("`%v`", v)
	case mayMiss || v.Type() == reflect.TypeFor[[]map[string]any]():
		return ""
	}
	return "needed"
}

// cell is a text in a table of Markdown.
func cell(s string) string { return strings.ReplaceAll(s, "|", `\|`) }
