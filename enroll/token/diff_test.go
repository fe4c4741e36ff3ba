package token

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"fleetctl/enroll/config"
	"fleetctl/enroll/enrolltest"
	"fleetctl/enroll/store"
	"fleetctl/enroll/tctl"
)

// fakeTctl is a tctl whose cluster is a directory: token-NAME.json and bot-NAME.json. It says what the real one says:
// errors in red, as a tree with tabs and an empty line behind it, names of tokens masked; create replaces a token with
// or without -f, and a bot only with it. A command that the script does not know fails. It logs its commands. An
// executable beside it, "break", makes create fail.
const fakeTctl = `#!/bin/sh
cd "$(dirname "$0")" || exit 9
echo "begin $*" >> log
trap 'echo end >> log' EXIT
trap '' PIPE
fail() { printf '\033[31mERROR: \033[0m%b\n\n' "$1" >&2; exit 1; }
missing() {
	case "$1" in
	token/*) fail "provisioning token($(echo "${1#token/}" | awk '{ n = int(length($0) * 3 / 4); m = substr($0, n + 1); while (n-- > 0) m = "*" m; print m }')) not found" ;;
	bot/*) fail "fetching bot user\n\tuser \"bot-${1#bot/}\" not found" ;;
	esac
}
case "$1 $2 $3" in
"get "*"/"*" --format=json")
	file="$(echo "$2" | tr / -).json"
	[ -e "$file" ] || missing "$2"
	echo "["; cat "$file"; echo "]" ;;
"create -f "*|"create "*)
	file="$3"; [ "$2" = -f ] || file="$2"
	if [ -e break ]; then fail "upserting\n\tthe backend is on fire"; fi
	name="$(sed -n 's/^  name: //p' "$file" | head -1)"
	kind="$(sed -n 's/^kind: //p' "$file" | head -1)"
	if [ "$kind" = bot ] && [ "$2" != -f ] && [ -e "bot-$name.json" ]; then fail "bot \"$name\" already exists"; fi
	if [ ! -e forget ]; then
		./yaml2json "$file" > "new-$$" && mv "new-$$" "$kind-$name.json" || exit 1
	fi
	[ "$kind" = token ] && kind=provision_token
	echo "$kind \"$name\" has been created" ;;
"rm token/"*)
	[ -e "token-${2#token/}.json" ] || missing "$2"
	rm "token-${2#token/}.json"
	echo "token \"${2#token/}\" has been deleted" ;;
*)
	fail "unscripted: $*" ;;
esac
`

// newFakeTctl writes the script and its helper, which is this test binary.
func newFakeTctl(t *testing.T) (tctl.Tctl, string) {
	t.Helper()
	return fakeTctlIn(t, t.TempDir())
}

func fakeTctlIn(t *testing.T, dir string) (tctl.Tctl, string) {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	helper := fmt.Sprintf("#!/bin/sh\nFLEETCTL_TEST_YAML2JSON=\"$1\" exec %s\n", self)
	for name, text := range map[string]string{"tctl": fakeTctl, "yaml2json": helper} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	return tctl.Tctl{Path: filepath.Join(dir, "tctl")}, dir
}

func mustApply(t *testing.T, s *Set, cluster tctl.Tctl, opts ApplyOptions) Applied {
	t.Helper()
	a, err := s.Apply(t.Context(), cluster, opts)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func wantChanged(t *testing.T, a Applied, want ...string) {
	t.Helper()
	if !slices.Equal(a.Changed, want) {
		t.Errorf("changed %v, want %v", a.Changed, want)
	}
}

// withWritten adds what earlier runs published.
func withWritten(s *Set, before ...*Set) *Set {
	for _, b := range before {
		s.written = append(s.written, b.written...)
		for _, t := range b.Tokens {
			s.written = append(s.written, t.stored()...)
			s.published = append(s.published, store.Token{Name: t.Name, Kind: t.Kind, Bot: t.Bot})
		}
	}
	return s
}

func text(t *testing.T, d Diff) string {
	t.Helper()
	var b strings.Builder
	if err := d.WriteText(&b); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

func TestApplyTouchesOnlyWhatChanged(t *testing.T) {
	t.Parallel()
	cluster, _ := newFakeTctl(t)
	in := testInput(enrolltest.Accepted("a", 1), enrolltest.Accepted("b", 2), enrolltest.Accepted("c", 3))
	in.Policy.MaxRules = 2
	first := planTokens(t, in)
	wantChanged(t, mustApply(t, first, cluster, ApplyOptions{}), "bot/fleet", "token/fleet", "token/fleet-2")
	wantChanged(t, mustApply(t, planTokens(t, in), cluster, ApplyOptions{}))

	in.Records = []store.Record{enrolltest.Assigned("a", 1, "fleet"), enrolltest.Assigned("b", 2, "fleet"), enrolltest.Assigned("c", 3, "fleet-2"), enrolltest.Accepted("d", 4)}
	second := withWritten(planTokens(t, in), first)
	d, err := second.Diff(t.Context(), cluster, DiffOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if got, want := text(t, d), "token fleet-2: update\n  + d\n"; got != want {
		t.Errorf("got\n%swant\n%s", got, want)
	}
	wantChanged(t, mustApply(t, second, cluster, ApplyOptions{}), "token/fleet-2")

	in.Records = in.Records[1:2] // a is removed, c and d too: a token without hosts goes
	third := withWritten(planTokens(t, in), first, second)
	d, err = third.Diff(t.Context(), cluster, DiffOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if got, want := text(t, d), "token fleet: update\n  - a\ntoken fleet-2: delete\n  - c\n  - d\n"; got != want {
		t.Errorf("got\n%swant\n%s", got, want)
	}
	wantChanged(t, mustApply(t, third, cluster, ApplyOptions{}), "token/fleet", "token/fleet-2")
	wantChanged(t, mustApply(t, third, cluster, ApplyOptions{}))
}

// editCluster changes a token in the fake cluster by hand.
func editCluster(t *testing.T, dir, name string, edit func(doc map[string]any, allow []any) []any) {
	t.Helper()
	file := filepath.Join(dir, "token-"+name+".json")
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var doc map[string]any
	if err := json.Unmarshal(data, &doc); err != nil {
		t.Fatal(err)
	}
	tpm := doc["spec"].(map[string]any)["tpm"].(map[string]any)
	tpm["allow"] = edit(doc, tpm["allow"].([]any))
	if data, err = json.Marshal(doc); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, data, 0o600); err != nil {
		t.Fatal(err)
	}
}

func TestForeignRulesStayAndAreNamed(t *testing.T) {
	t.Parallel()
	cluster, dir := newFakeTctl(t)
	in := testInput(enrolltest.Accepted("a", 1), enrolltest.Accepted("b", 2))
	first := planTokens(t, in)
	mustApply(t, first, cluster, ApplyOptions{})
	editCluster(t, dir, "fleet", func(doc map[string]any, allow []any) []any {
		doc["metadata"].(map[string]any)["labels"] = map[string]any{"team": "x"}
		doc["metadata"].(map[string]any)["revision"] = "abc"
		doc["spec"].(map[string]any)["bot_name"] = "other"
		return append(allow[:1], // b's rule was taken out, and these were put in
			map[string]any{"description": "old box", "ek_public_hash": enrolltest.Hash(77), "ek_certificate_serial": "01:02"},
			map[string]any{"description": "b", "ek_public_hash": enrolltest.Hash(78)},
			map[string]any{"description": "serial only", "ek_certificate_serial": "03"})
	})
	second := withWritten(planTokens(t, in), first)
	d, err := second.Diff(t.Context(), cluster, DiffOptions{})
	if err != nil {
		t.Fatal(err)
	}
	want := `token fleet: update
  ~ bot_name: other → fleet
  + b
  ? "old box" hash ` + enrolltest.Hash(77) + ` serial 01:02: fleetctl did not write it; it stays (--adopt takes it over, --prune removes it)
  ? "b" hash ` + enrolltest.Hash(78) + ` (called like b, whose EK hash is another: was it changed by hand?): fleetctl did not write it; it stays (--adopt takes it over, --prune removes it)
  ? "serial only" serial 03: fleetctl did not write it; it stays (--adopt takes it over, --prune removes it)
`
	if got := text(t, d); got != want {
		t.Errorf("got\n%swant\n%s", got, want)
	}
	wantChanged(t, mustApply(t, second, cluster, ApplyOptions{}), "token/fleet")
	wantChanged(t, mustApply(t, second, cluster, ApplyOptions{}))
	data, err := os.ReadFile(filepath.Join(dir, "token-fleet.json"))
	if err != nil {
		t.Fatal(err)
	}
	for _, part := range []string{enrolltest.Hash(77), enrolltest.Hash(78), `"03"`, enrolltest.Hash(1), enrolltest.Hash(2), `"team"`} {
		if !strings.Contains(string(data), part) {
			t.Errorf("%s is gone from the cluster: %s", part, data)
		}
	}
	if strings.Contains(string(data), "revision") {
		t.Errorf("the revision was sent back: %s", data)
	}
	wantChanged(t, mustApply(t, second, cluster, ApplyOptions{Prune: true}), "token/fleet")
	if data, err = os.ReadFile(filepath.Join(dir, "token-fleet.json")); err != nil || strings.Contains(string(data), enrolltest.Hash(77)) {
		t.Errorf("pruning left: %s, %v", data, err)
	}

	// When our own hosts are all gone, the rules of others stay behind.
	editCluster(t, dir, "fleet", func(_ map[string]any, allow []any) []any {
		return append(allow, map[string]any{"description": "old box", "ek_public_hash": enrolltest.Hash(77)})
	})
	in.Records = nil
	third := withWritten(planTokens(t, in), first)
	wantChanged(t, mustApply(t, third, cluster, ApplyOptions{}), "token/fleet")
	wantChanged(t, mustApply(t, third, cluster, ApplyOptions{Prune: true}), "token/fleet")
	if _, err := os.Stat(filepath.Join(dir, "token-fleet.json")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the token is still there: %v", err)
	}
}

func TestChangesByHandAreShown(t *testing.T) {
	t.Parallel()
	cluster, dir := newFakeTctl(t)
	set := planTokens(t, testInput(enrolltest.Accepted("a", 1), enrolltest.Accepted("b", 2)))
	mustApply(t, set, cluster, ApplyOptions{})
	editCluster(t, dir, "fleet", func(doc map[string]any, allow []any) []any {
		doc["metadata"].(map[string]any)["expires"] = "2027-01-01T00:00:00Z"
		allow[0].(map[string]any)["description"] = "renamed"
		allow[1].(map[string]any)["ek_certificate_serial"] = "01"
		return append(allow, allow[0])
	})
	d, err := set.Diff(t.Context(), cluster, DiffOptions{})
	if err != nil {
		t.Fatal(err)
	}
	want := `token fleet: update
  ~ expires: 2027-01-01T00:00:00Z → nothing
  - a (a second rule for the same EK)
  ~ a: description: "renamed" → "a"
  ~ b: ek_certificate_serial: "01" → ""
`
	if got := text(t, d); got != want {
		t.Errorf("got\n%swant\n%s", got, want)
	}
	wantChanged(t, mustApply(t, set, cluster, ApplyOptions{}), "token/fleet")
	wantChanged(t, mustApply(t, set, cluster, ApplyOptions{}))
}

func TestRolesOfABotAreNotOverwrittenUnasked(t *testing.T) {
	t.Parallel()
	cluster, dir := newFakeTctl(t)
	bot := `{"kind":"bot","version":"v1","metadata":{"name":"fleet"},"spec":{"roles":["admin"],"traits":[{"name":"logins","values":["root"]}]}}`
	file := filepath.Join(dir, "bot-fleet.json")
	if err := os.WriteFile(file, []byte(bot), 0o600); err != nil {
		t.Fatal(err)
	}
	set := planTokens(t, testInput(enrolltest.Accepted("a", 1)))
	a := mustApply(t, set, cluster, ApplyOptions{})
	wantChanged(t, a, "token/fleet")
	if len(a.Kept) != 1 || !strings.Contains(text(t, a.Diff), "bot fleet: has roles admin, not fleet-access") {
		t.Errorf("%+v\n%s", a.Kept, text(t, a.Diff))
	}
	if data, err := os.ReadFile(file); err != nil || string(data) != bot {
		t.Errorf("the bot was changed: %s, %v", data, err)
	}
	wantChanged(t, mustApply(t, set, cluster, ApplyOptions{Roles: true}), "bot/fleet")
	if data, err := os.ReadFile(file); err != nil || !strings.Contains(string(data), "fleet-access") || !strings.Contains(string(data), "logins") {
		t.Errorf("roles or traits: %s, %v", data, err)
	}
}

func TestApplySaysWhatTctlSaid(t *testing.T) {
	t.Parallel()
	tests := map[string]struct{ file, want string }{
		"output on failure":             {"break", "upserting: the backend is on fire"},
		"a success that was none shows": {"forget", "tctl reported success, but the cluster"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			cluster, dir := newFakeTctl(t)
			if err := os.WriteFile(filepath.Join(dir, tt.file), nil, 0o600); err != nil {
				t.Fatal(err)
			}
			set := planTokens(t, testInput(enrolltest.Accepted("a", 1)))
			if a, err := set.Apply(t.Context(), cluster, ApplyOptions{}); err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("%+v, %v", a, err)
			}
		})
	}
}

func TestTctlElsewhereGetsFilesOverStandardInput(t *testing.T) {
	t.Parallel()
	local, dir := newFakeTctl(t)
	wrapper := "#!/bin/sh\nshift\nif [ \"$1\" = create ]; then cat > " + dir + "/in.yaml; set -- \"$@\" " + dir + "/in.yaml; fi\nexec " + local.Path + " \"$@\"\n"
	path := filepath.Join(t.TempDir(), "ssh")
	if err := os.WriteFile(path, []byte(wrapper), 0o700); err != nil {
		t.Fatal(err)
	}
	cluster, err := tctl.New(config.Config{Cluster: config.Cluster{Tctl: path + " auth"}})
	if err != nil {
		t.Fatal(err)
	}
	set := planTokens(t, testInput(enrolltest.Accepted("a", 1)))
	wantChanged(t, mustApply(t, set, cluster, ApplyOptions{}), "bot/fleet", "token/fleet")
}

func FuzzClusterToken(f *testing.F) {
	f.Add([]byte(`[{"kind":"token","metadata":{"name":"x"},"spec":{"tpm":{"allow":[{"description":"a","ek_public_hash":"00"}]}}}]`))
	f.Add([]byte(`{"kind":"token","spec":{"tpm":{"ekcert_allowed_cas":["x"],"allow":null}}}`))
	f.Add([]byte(`[]`))
	f.Fuzz(func(t *testing.T, data []byte) {
		raw, err := tctl.OneOfJSON(data)
		if err != nil || raw == nil {
			return
		}
		have, err := parseClusterToken(raw)
		if err != nil {
			return
		}
		set := planTokens(t, testInput(enrolltest.Accepted("a", 1)))
		c := compareToken(set.Tokens[0], have, nil, DiffOptions{})
		if c.Action == ActionDelete || c.Action == ActionCreate {
			t.Fatalf("action %s", c.Action)
		}
		if c.result == nil {
			return
		}
		if len(c.result.rules) != len(c.Foreign)+1 {
			t.Fatalf("%d rules with %d foreign ones", len(c.result.rules), len(c.Foreign))
		}
		if _, err := marshalYAML("", c.document()); err != nil {
			t.Fatal(err)
		}
	})
}
