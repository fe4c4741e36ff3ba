package tctl

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"fleetctl/enroll/config"
	"fleetctl/enroll/outcome"
)

func sample(t *testing.T, name string) []byte {
	t.Helper()
	data, err := os.ReadFile(filepath.Join("testdata", name))
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// saying is a tctl that says the same to everything.
func saying(stdout, stderr string, code int) Tctl {
	return Tctl{Runner: Func(func(context.Context, []byte, []string) ([]byte, []byte, int) {
		return []byte(stdout), []byte(stderr), code
	})}
}

// script is a tctl that is a shell script.
func script(t *testing.T, text string) Tctl {
	t.Helper()
	path := filepath.Join(t.TempDir(), "tctl")
	if err := os.WriteFile(path, []byte("#!/bin/sh\n"+text+"\n"), 0o700); err != nil {
		t.Fatal(err)
	}
	return Tctl{Path: path}
}

const red = "\x1b[31mERROR: \x1b[0m"

func TestOnlyTheResourceThatWasAskedForCountsAsMissing(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name, kind, resource, stderr string
		want                         bool
	}{
		{"a token, as the sample", "token", "fleet-token", string(sample(t, "tctl-get-token-missing.stderr")), true},
		{"a bot, as the sample", "bot", "fleet", string(sample(t, "tctl-get-bot-missing.stderr")), true},
		{"a bot, from the cache", "bot", "fleet", red + "fetching bot user\n\tkey \"/web/users/bot-fleet/params\" is not found\n\n", true},
		{"a token of a short name", "token", "a", red + "provisioning token(a) not found\n\n", true},
		{"a token behind alerts", "token", "name", "a new version is there\n" + red + "provisioning token(***e) not found\n\n", true},
		{"a token, told by kubectl", "token", "name", red + "provisioning token(***e) not found\n\ncommand terminated with exit code 1\n", true},
		{"a token, with debug on", "token", "name", "ERROR REPORT:\nStack Trace:\n\tx.go:1\nUser Message: provisioning token(***e) not found\n", true},
		{"another token", "token", "fleet-2", red + "provisioning token(*****-3) not found\n\n", false},
		{"a token of another length", "token", "fleet-2", red + "provisioning token(******-2) not found\n\n", false},
		{"another bot", "bot", "fleet", red + "fetching bot user\n\tuser \"bot-other\" not found\n\n", false},
		{"the bot's name as a user", "bot", "fleet", red + "user \"fleet\" not found\n\n", false},
		{"a token where a bot was asked for", "bot", "fleet", red + "provisioning token(***et) not found\n\n", false},
		{"tctl's own user", "token", "fleet", red + "user \"alice\" not found\n\n", false},
		{"a host", "token", "fleet", red + "host teleport.example.com not found\n\n", false},
		{"a profile", "token", "fleet", red + "profile not found, run tsh login\n\n", false},
		{"an identity file", "bot", "fleet", red + "identity file \"x\" not found\n\topen x: no such file or directory\n\n", false},
		{"no words of tctl's", "token", "name", "provisioning token(***e) not found\n", false},
		{"a cause below it", "token", "name", red + "provisioning token(***e) not found\n\tconnection refused\n\n", false},
		{"a pod", "bot", "fleet", "Error from server (NotFound): deployments.apps \"auth\" not found\n", false},
	} {
		var into any
		err := saying("", tt.stderr, 1).Get(t.Context(), tt.kind, tt.resource, &into)
		if err == nil || errors.Is(err, ErrNoResource) != tt.want {
			t.Errorf("%s: %v", tt.name, err)
		}
	}
	var into any
	if err := saying("[]\n", "", 0).Get(t.Context(), "token", "x", &into); !errors.Is(err, ErrNoResource) {
		t.Errorf("an empty list: %v", err)
	}
}

func TestFailuresAreToldInOneLineWithWhatToDo(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name, stderr, want, hint string
		code                     outcome.Code
	}{
		{"a second factor, as the sample", string(sample(t, "tctl-mfa.stderr")),
			"tctl rm token/x: admin-level API request requires MFA verification", "at a terminal", outcome.MFARequired},
		{"a rule that is missing", red + "access denied to perform action \"delete\" on \"token\"\n\n",
			"tctl rm token/x: access denied to perform action \"delete\" on \"token\"", "{resources: [token], verbs: [delete]}", outcome.TctlDenied},
		{"a rule that is missing, inside", red + "getting it\n\taccess denied to perform action \"read\"\n\n",
			"tctl rm token/x: getting it: access denied to perform action \"read\"", "verb read", outcome.TctlDenied},
		{"an open-source cluster", red + "tpm joining\n\tthis feature requires Teleport Enterprise\n\n",
			"tctl rm token/x: tpm joining: this feature requires Teleport Enterprise", "edition", outcome.NeedsEnterprise},
		{"a tree", red + "one\n\ttwo\n\t\tthree\n\n", "tctl rm token/x: one: two: three", "", outcome.General},
		{"a proxy's certificate", red + "WARNING:\n\n  The proxy has presented a\n  certificate.\n\n",
			"tctl rm token/x: The proxy has presented a certificate.", "", outcome.General},
		{"the words of a wrapper", "no such pod\nreally\n", "tctl rm token/x: exit status 1: no such pod; really", "", outcome.General},
		{"control characters", red + "a \x1b]0;title\x07\n\n", `tctl rm token/x: a \x1b]0;title\x07`, "", outcome.General},
		{"nothing", "", "tctl rm token/x: exit status 1", "", outcome.General},
	} {
		err := saying("", tt.stderr, 1).Remove(t.Context(), "token", "x")
		r := outcome.ReasonOf(err)
		if err.Error() != tt.want || r.Code != tt.code || !strings.Contains(r.Hint, tt.hint) {
			t.Errorf("%s: %q, %+v", tt.name, err, r)
		}
		if strings.Contains(r.Hint, "--") {
			t.Errorf("%s: the hint names a flag: %s", tt.name, r.Hint)
		}
	}
}

func TestTheErrorIsFoundBehindMuchElse(t *testing.T) {
	t.Parallel()
	var into any
	tctl := script(t, `head -c 300000 /dev/zero | tr '\0' x >&2; printf '\n\033[31mERROR: \033[0mprovisioning token(***e) not found\n\n' >&2; exit 1`)
	if err := tctl.Get(t.Context(), "token", "name", &into); !errors.Is(err, ErrNoResource) {
		t.Errorf("got %.200v", err)
	}
}

func TestMoreOutputThanAResourceMayHaveIsAnError(t *testing.T) {
	t.Parallel()
	var into any
	err := script(t, "head -c 75497472 /dev/zero").Get(t.Context(), "token", "x", &into)
	if err == nil || !strings.Contains(err.Error(), "printed more than 67108864 bytes") {
		t.Errorf("got %v", err)
	}
}

func TestATctlThatDoesNotAnswerIsEnded(t *testing.T) {
	t.Parallel()
	tctl := script(t, "sleep 1000 & wait")
	tctl.Timeout = 50 * time.Millisecond
	_, err := tctl.ClusterVersion(t.Context())
	if !errors.Is(err, context.DeadlineExceeded) || err.Error() != "tctl status: no answer in 50ms: context deadline exceeded" {
		t.Errorf("got %v", err)
	}
	if _, err := tctl.Joins(t.Context()); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := tctl.ClusterVersion(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
}

func TestTctlDoesNotReplaceItself(t *testing.T) {
	tctl := script(t, `printf 'Version %s\n' "17.0.0-$TELEPORT_TOOLS_VERSION"`)
	t.Setenv(toolsVersion, "user")
	if v, err := tctl.ClusterVersion(t.Context()); err != nil || v != "17.0.0-user" {
		t.Errorf("set by the user: %s, %v", v, err)
	}
	if err := os.Unsetenv(toolsVersion); err != nil {
		t.Fatal(err)
	}
	if v, err := tctl.ClusterVersion(t.Context()); err != nil || v != "17.0.0-off" {
		t.Errorf("not set: %s, %v", v, err)
	}
	if got := environment([]string{"A=b", toolsVersion + "="}); slices.Contains(got, toolsVersion+"=off") {
		t.Errorf("the user's choice was overridden: %q", got)
	}
	if got := environment([]string{"A=b"}); !slices.Equal(got, []string{"A=b", toolsVersion + "=off"}) {
		t.Errorf("got %q", got)
	}
}

func TestTheVersionOfAClusterIsRead(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ name, out, want string }{
		{"two columns, as the sample", string(sample(t, "tctl-status-2023-layout.txt")), "17.5.4"},
		{"with a colon", "Cluster: example.com\nVersion: 18.9.0-rc.2\n", "18.9.0-rc.2"},
		{"with a v and a tab", "version\tv16.4.7\n", "16.4.7"},
		{"a cluster that is called so", "Cluster  Version\nVersion  17.5.4\n", "17.5.4"},
		{"none", "Cluster  17.5.4\nVersion  many\nMin version  15.0.0\n", ""},
	} {
		got, err := saying(tt.out, "an alert\n", 0).ClusterVersion(t.Context())
		if got != tt.want || (err != nil) != (tt.want == "") {
			t.Errorf("%s: %q, %v", tt.name, got, err)
		}
	}
}

func TestTctlThatIsNotThere(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"tctl-that-is-nowhere", "/nowhere/tctl"} {
		_, err := New(config.Config{Cluster: config.Cluster{Tctl: name}})
		hint := (*outcome.HintError)(nil)
		if err == nil || !strings.Contains(err.Error(), name) || !errors.As(err, &hint) || !strings.Contains(hint.Hint, "cluster: {tctl:") {
			t.Errorf("%v", err)
		}
	}
	if _, err := New(config.Config{Cluster: config.Cluster{Tctl: "ssh 'auth"}}); !errors.Is(err, outcome.ErrInput) {
		t.Errorf("%v", err)
	}
}

func TestACommandRunsTctlElsewhere(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "my tools")
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	path, file := filepath.Join(dir, "kubectl"), filepath.Join(dir, "token.yaml")
	for name, text := range map[string]string{path: "#!/bin/sh\necho \"$*\" >&2; cat >&2; exit 1\n", file: "kind: token\n"} {
		if err := os.WriteFile(name, []byte(text), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	for command, want := range map[string]string{
		"'" + path + "' exec -i deploy/auth -- tctl": "exec -i deploy/auth -- tctl create -f; kind: token",
		path: "create -f " + file,
	} {
		tctl, err := New(config.Config{Cluster: config.Cluster{Tctl: command}})
		if err != nil {
			t.Fatal(err)
		}
		if err := tctl.Create(t.Context(), file, true); err == nil || !strings.HasSuffix(err.Error(), want) {
			t.Errorf("%s: %v", command, err)
		}
	}
}

func TestAClusterInMemoryStandsInForTheProgram(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "token.yaml")
	if err := os.WriteFile(file, []byte("kind: token\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	var seen []string
	tctl := Tctl{Runner: Func(func(_ context.Context, stdin []byte, args []string) ([]byte, []byte, int) {
		seen = append(seen, fmt.Sprintf("%s<%s", strings.Join(args, " "), stdin))
		return sample(t, "tctl-create-token.stdout"), nil, 0
	})}
	if err := errors.Join(tctl.Create(t.Context(), file, true), tctl.Remove(t.Context(), "token", "x")); err != nil {
		t.Fatal(err)
	}
	if want := []string{"create -f<kind: token\n", "rm token/x<"}; !slices.Equal(seen, want) {
		t.Errorf("got %q", seen)
	}
}

func TestPromptsAreShownAndErrorsAreNot(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name   string
		writes []string
		want   string
	}{
		{"a prompt without a newline", []string{"Tap your key: "}, "Tap your key: "},
		{"an error behind a prompt", []string{"Tap your key\n" + red + "no\n", "\tbecause\n"}, "Tap your key\n"},
		{"an error in the line of a prompt", []string{"Code: " + red + "no\n\n"}, "Code: "},
		{"an error without colours", []string{"Tap\nERROR: no\n" + red}, "Tap\n"},
		{"an error in a write of its own", []string{"Code: ", red + "no\n\n"}, "Code: "},
		{"an error alone", []string{red + "provisioning token(x) not found\n\n"}, ""},
	} {
		var shown strings.Builder
		p := &promptWriter{w: &shown}
		for _, w := range tt.writes {
			if n, err := io.WriteString(p, w); n != len(w) || err != nil {
				t.Errorf("%s: %d, %v", tt.name, n, err)
			}
		}
		if shown.String() != tt.want || p.any != (tt.want != "") {
			t.Errorf("%s: %q, any: %v", tt.name, shown.String(), p.any)
		}
	}
}

func TestTctlsTakeTurnsAtTheTerminalUntilNothingIsAsked(t *testing.T) {
	t.Parallel()
	get := []string{"get", "token/x", "--format=json"}
	free := func(ts *turns) bool {
		ok := ts.mu.TryRLock()
		if ok {
			ts.mu.RUnlock()
		}
		return ok
	}
	ts := &turns{}
	end := ts.take(get, &promptWriter{any: true})
	if free(ts) {
		t.Error("another may ask at the same time")
	}
	end()
	end = ts.take(get, &promptWriter{})
	if free(ts) {
		t.Error("another may ask at the same time, though the first was asked")
	}
	end()
	end = ts.take(get, &promptWriter{})
	if !free(ts) {
		t.Error("reading waits, though nothing is asked")
	}
	end()
	defer ts.take([]string{"rm", "token/x"}, &promptWriter{})()
	if free(ts) {
		t.Error("another may ask while something is removed")
	}
}

func FuzzWords(f *testing.F) {
	f.Add(red + "fetching bot user\n\tuser \"bot-fleet\" not found\n\n")
	f.Add(red + "WARNING:\n\n\n")
	f.Fuzz(func(t *testing.T, stderr string) {
		w := parseWords(stderr)
		if w.isErr && len(w.tree) == 0 || strings.ContainsRune(w.String(), '\x1b') {
			t.Errorf("%q became %q", stderr, w)
		}
		w.missing("token", "fleet")
		_ = explain(&runError{said: w, err: io.EOF}).Error()
	})
}
