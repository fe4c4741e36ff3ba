package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/jsonschema-go/jsonschema"

	"fleetctl/enroll"
	"fleetctl/enroll/outcome"
	"fleetctl/enroll/report"
	"fleetctl/enroll/store"
	"fleetctl/enroll/token"
)

// schemaDir has the schemas that are published.
const schemaDir = "../../docs/schemas"

// documented is a shape, whatever its types are.
type documented interface {
	schemas(opts *jsonschema.ForOptions) (map[string]*jsonschema.Schema, error)
}

// shapes are all of them.
func shapes() []documented {
	return []documented{
		hostsShape, statusShape, tokensShape, tokenChangesShape, recordsShape, exportShape, issuersShape, removedShape, runsShape,
		historyShape, logShape, acceptedShape, changedStatesShape, recoveryShape, inventoryShape, settingsShape, whyShape,
		knownHostsShape, statusesShape, checksShape, versionShape,
	}
}

// schemas are those of the shape's documents and lines, by name.
func (s shape[H, R]) schemas(opts *jsonschema.ForOptions) (map[string]*jsonschema.Schema, error) {
	head, err := jsonschema.For[H](opts)
	if err != nil {
		return nil, err
	}
	row, err := jsonschema.For[R](opts)
	if err != nil {
		return nil, err
	}
	all := map[string]*jsonschema.Schema{s.document: head.CloneSchemas()}
	if s.list != "" {
		all[s.line] = row
		addList(all[s.document], s.list, row.CloneSchemas())
	}
	if s.end != "" {
		all[s.end] = head
	}
	for name, schema := range all {
		nameSchema(schema, name)
	}
	return all, nil
}

// addList adds the rows of a document.
func addList(s *jsonschema.Schema, name string, row *jsonschema.Schema) {
	if s.Properties == nil {
		s.Properties = map[string]*jsonschema.Schema{}
	}
	s.Properties[name] = &jsonschema.Schema{Type: "array", Items: row}
	s.PropertyOrder, s.Required = append(s.PropertyOrder, name), append(s.Required, name)
}

// nameSchema adds the member that names a schema.
func nameSchema(s *jsonschema.Schema, name string) {
	if s.Properties == nil {
		s.Properties = map[string]*jsonschema.Schema{}
	}
	s.Schema, s.Title = "https://json-schema.org/draft/2020-12/schema", schemaName(name)
	s.Properties["schema"] = &jsonschema.Schema{Const: jsonschema.Ptr(any(schemaName(name)))}
	s.PropertyOrder, s.Required = append([]string{"schema"}, s.PropertyOrder...), append([]string{"schema"}, s.Required...)
}

// published are all schemas, by name: strict ones, which take no member that they don't know.
func published(t *testing.T) map[string]*jsonschema.Schema {
	t.Helper()
	opts := &jsonschema.ForOptions{TypeSchemas: map[reflect.Type]*jsonschema.Schema{
		reflect.TypeFor[outcome.Took]():    {Type: "integer", Minimum: jsonschema.Ptr(0.0)},
		reflect.TypeFor[[]byte]():          {Type: "string", ContentEncoding: "base64"},
		reflect.TypeFor[json.RawMessage](): {},
		reflect.TypeFor[time.Time]():       {Type: "string", Format: "date-time"},
	}}
	all := map[string]*jsonschema.Schema{}
	for _, s := range append(shapes(), reportShape{}, ownShape[token.Proposal]{token.ProposalSchema}, ownShape[enroll.HookInput]{enroll.HookSchema}) {
		schemas, err := s.schemas(opts)
		if err != nil {
			t.Fatal(err)
		}
		for name, schema := range schemas {
			if was, twice := all[name]; twice && !reflect.DeepEqual(was, schema) {
				t.Errorf("%s are two schemas", name)
			}
			all[name] = schema
		}
	}
	return all
}

// reportShape is that of the report, which has two lists.
type reportShape struct{}

func (reportShape) schemas(opts *jsonschema.ForOptions) (map[string]*jsonschema.Schema, error) {
	opts = &jsonschema.ForOptions{TypeSchemas: opts.TypeSchemas, IgnoreInvalidTypes: true}
	s, err := jsonschema.For[report.Report](opts)
	if err != nil {
		return nil, err
	}
	entry, err := jsonschema.For[store.Entry](opts)
	if err != nil {
		return nil, err
	}
	host, err := jsonschema.For[report.Host](opts)
	if err != nil {
		return nil, err
	}
	addList(s, "log", entry)
	addList(s, "hosts", host)
	nameSchema(s, reportSchema)
	return map[string]*jsonschema.Schema{reportSchema: s}, nil
}

// ownShape is that of what says itself what it is: the file of tokens --plan, and what a hook reads.
type ownShape[T any] struct{ name string }

func (o ownShape[T]) schemas(opts *jsonschema.ForOptions) (map[string]*jsonschema.Schema, error) {
	s, err := jsonschema.For[T](opts)
	if err != nil {
		return nil, err
	}
	name := strings.TrimPrefix(o.name, schemaName(""))
	s.PropertyOrder = slices.DeleteFunc(s.PropertyOrder, func(p string) bool { return p == "schema" })
	s.Required = slices.DeleteFunc(s.Required, func(p string) bool { return p == "schema" })
	nameSchema(s, name)
	return map[string]*jsonschema.Schema{name: s}, nil
}

// open lets a schema take members that come later.
func open(s *jsonschema.Schema) *jsonschema.Schema {
	out := s.CloneSchemas()
	for _, part := range parts(out) {
		if part.Properties != nil || part.AdditionalProperties != nil && part.AdditionalProperties.Not != nil {
			part.AdditionalProperties = nil
		}
	}
	return out
}

// parts are a schema and all that it is made of.
func parts(s *jsonschema.Schema) []*jsonschema.Schema {
	if s == nil {
		return nil
	}
	all := append([]*jsonschema.Schema{s}, parts(s.Items)...)
	all = append(all, parts(s.AdditionalProperties)...)
	for _, p := range s.Properties {
		all = append(all, parts(p)...)
	}
	return all
}

// fileOf is where a schema is published.
func fileOf(name string) string {
	return filepath.Join(schemaDir, strings.ReplaceAll(name, "/", ".")+".json")
}

// TestSchemasArePublished: docs/schemas has what the commands write. A change that readers of a version could stumble over is
// refused, also with -update: it wants a new version.
func TestSchemasArePublished(t *testing.T) {
	t.Parallel()
	var files []string
	for name, s := range published(t) {
		files = append(files, fileOf(name))
		raw, err := json.MarshalIndent(open(s), "", "  ")
		if err != nil {
			t.Fatal(err)
		}
		raw = append(raw, '\n')
		was, err := os.ReadFile(fileOf(name))
		switch {
		case errors.Is(err, fs.ErrNotExist) && *update:
		case err != nil:
			t.Errorf("%s: run \"go test ./cmd/fleetctl -run Schemas -update\" (%v)", name, err)
			continue
		case bytes.Equal(was, raw):
			continue
		default:
			if why := broken(parsed(t, was), parsed(t, raw), name); why != "" {
				t.Errorf("%s: who reads it by %s no longer can: raise its version", why, fileOf(name))
				continue
			}
			if !*update {
				t.Errorf("%s has new members: run \"go test ./cmd/fleetctl -run Schemas -update\"", name)
				continue
			}
		}
		if err := os.MkdirAll(schemaDir, 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(fileOf(name), raw, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	have, err := filepath.Glob(filepath.Join(schemaDir, "*.json"))
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range have { // of older versions nothing stays: no command writes them
		if !slices.Contains(files, f) {
			t.Errorf("%s is of no command: delete it", f)
		}
	}
}

func parsed(t *testing.T, raw []byte) (v any) {
	t.Helper()
	if err := json.Unmarshal(raw, &v); err != nil {
		t.Fatal(err)
	}
	return v
}

// broken says what of a schema is not in one that comes after it: a member, a type, or that a member is always there. "": who
// reads by the former doesn't notice.
func broken(was, now any, at string) string {
	switch was := was.(type) {
	case map[string]any:
		now, _ := now.(map[string]any)
		for _, key := range slices.Sorted(maps.Keys(was)) {
			if now[key] == nil {
				return fmt.Sprintf("%s has no %q any more", at, key)
			}
			if why := broken(was[key], now[key], at+"."+key); why != "" {
				return why
			}
		}
		return ""
	case []any:
		now, _ := now.([]any)
		for _, v := range was {
			if !slices.Contains(now, v) {
				return fmt.Sprintf("%s has no %q any more", at, v)
			}
		}
		if strings.HasSuffix(at, ".required") || len(was) == len(now) {
			return ""
		}
	}
	if reflect.DeepEqual(was, now) {
		return ""
	}
	return fmt.Sprintf("%s is %v, not %v", at, now, was)
}

func TestWhatBreaksReadersIsSeen(t *testing.T) {
	t.Parallel()
	const was = `{"type": "object", "required": ["host"], "properties": {"host": {"type": "string"}, "all": {"type": ["null", "array"]}}}`
	for name, tt := range map[string]struct {
		now    string
		breaks bool
	}{
		"nothing":          {was, false},
		"a new member":     {strings.Replace(was, `{"host": {`, `{"new": {"type": "string"}, "host": {`, 1), false},
		"more required":    {strings.Replace(was, `["host"]`, `["host", "all"]`, 1), false},
		"a member less":    {strings.Replace(was, `"host": {"type": "string"}, `, "", 1), true},
		"another type":     {strings.Replace(was, `"string"`, `"integer"`, 1), true},
		"one type more":    {strings.Replace(was, `["null", "array"]`, `["null", "array", "string"]`, 1), true},
		"no more required": {strings.Replace(was, `["host"]`, `[]`, 1), true},
	} {
		if why := broken(parsed(t, []byte(was)), parsed(t, []byte(tt.now)), "it"); (why != "") != tt.breaks {
			t.Errorf("%s: %q", name, why)
		}
	}
}

// oneName are members that would be a second name of something.
var oneName = map[string]string{
	"name": "host, token, bot…", "id": "run, entry…", "code": "status", "hash": "ek_public_hash", "ek_hash": "ek_public_hash",
	"serial": "ek_certificate_serial", "ek_serial": "ek_certificate_serial", "took_ns": "took_ms", "took": "took_ms", "hostname": "host",
}

// otherNames are members that have such a name and are something else.
var otherNames = map[string]string{
	"report/v1 name":  "what hosts are counted by: a state, a vendor, a firmware",
	"hostname":        "what a host calls itself, which is no name of the inventory",
	"code":            "of a finding about a TPM: the records of older versions have it",
	"token-plan name": "bot/NAME or token/NAME",
}

func TestAThingHasOneName(t *testing.T) {
	t.Parallel()
	for name, s := range published(t) {
		for _, part := range parts(s) {
			for member := range part.Properties {
				better := oneName[member]
				for _, other := range []string{name + " " + member, member, strings.TrimSuffix(name, "/v1") + " " + member} {
					if otherNames[other] != "" {
						better = ""
					}
				}
				if better != "" {
					t.Errorf("%s has %q: it is called %s elsewhere", name, member, better)
				}
			}
		}
	}
}

// validator checks what commands write against the schemas, and remembers which it met.
type validator struct {
	schemas map[string]*jsonschema.Resolved
	met     map[string]bool
}

func newValidator(t *testing.T) *validator {
	t.Helper()
	v := &validator{schemas: map[string]*jsonschema.Resolved{}, met: map[string]bool{}}
	for name, s := range published(t) {
		r, err := s.Resolve(nil)
		if err != nil {
			t.Fatal(err)
		}
		v.schemas[name] = r
	}
	return v
}

// check says what is wrong with a document or a line.
func (v *validator) check(doc any) error {
	m, _ := doc.(map[string]any)
	text, _ := m["schema"].(string)
	name := strings.TrimPrefix(text, schemaName(""))
	s := v.schemas[name]
	if s == nil {
		return fmt.Errorf("no schema %q", text)
	}
	v.met[name] = true
	return s.Validate(doc)
}

// missed are the schemas that nothing was checked against.
func (v *validator) missed() (names []string) {
	for name := range v.schemas {
		if !v.met[name] {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}
