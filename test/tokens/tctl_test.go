package tokens

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"fleetctl/enroll/config"
	"fleetctl/enroll/enrolltest"
	"fleetctl/enroll/store"
	"fleetctl/enroll/tctl"
	"fleetctl/enroll/token"
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
	set := plan(t, input(enrolltest.Accepted("a", 1)))
	wantChanged(t, mustApply(t, set, cluster, token.ApplyOptions{}), "bot/fleet", "token/fleet")
}

func wantChanged(t *testing.T, a token.Applied, want ...string) {
	t.Helper()
	if !slices.Equal(a.Changed, want) {
		t.Errorf("changed %v, want %v", a.Changed, want)
	}
}

func mustApply(t *testing.T, s *token.Set, cluster tctl.Tctl, opts token.ApplyOptions) token.Applied {
	t.Helper()
	a, err := s.Apply(t.Context(), cluster, opts)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func plan(t *testing.T, in token.Input) *token.Set {
	t.Helper()
	set, err := token.Plan(in)
	if err != nil {
		t.Fatal(err)
	}
	return set
}

func input(records ...store.Record) token.Input {
	return token.Input{
		Records: records, Policy: config.Token{Name: "fleet"}, Bot: config.Bot{Name: "fleet", Roles: []string{"fleet-access"}},
		Now: enrolltest.Time,
	}
}
