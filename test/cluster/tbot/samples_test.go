package tbot

import (
	"encoding/json"
	"errors"
	"io/fs"
	"net/http"
	"net/http/httptest"
	"os"
	"reflect"
	"strings"
	"syscall"
	"testing"

	"gopkg.in/yaml.v3"

	"fleetctl/test/cluster/cli"
	"fleetctl/test/cluster/versions"
)

func sample(t *testing.T, name string) string {
	t.Helper()
	data, err := os.ReadFile("../testdata/samples/" + name)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

func played(version string) *bot {
	return &bot{tool: &tool{Program: versions.Program{V: versions.Must(version)}}, health: newHealth([]string{"identity", "heartbeat"})}
}

// Who is not root is refused as in the samples; the tests of the lab run as such users.
func TestWhatIsDenied(t *testing.T) {
	for name, err := range map[string]error{
		"journal-storage-denied.txt": noAccess(&fs.PathError{Op: "stat", Path: "/var/lib/teleport/bot", Err: syscall.EACCES},
			"access", "/var/lib/teleport/bot"),
		"journal-tpm-denied.txt": played("18.8.0").joinError(&fs.PathError{Op: "open", Path: "/dev/tpmrm0", Err: syscall.EACCES}),
	} {
		var out strings.Builder
		cli.Exit(&out, "tbot", err)
		if want := sample(t, name); !strings.HasSuffix(want, out.String()) {
			t.Errorf("%s: %q, and the stand-in says %q", name, want, out.String())
		}
	}
}

// decoded is JSON without what differs from run to run.
func decoded(t *testing.T, text string) any {
	t.Helper()
	var doc map[string]any
	if err := json.Unmarshal([]byte(text), &doc); err != nil {
		t.Fatalf("%v\n%s", err, text)
	}
	services, _ := doc["services"].(map[string]any)
	for _, s := range services {
		if s := s.(map[string]any); s["updated_at"] != nil {
			s["updated_at"] = "TIME"
		}
	}
	if doc["pid"] != nil {
		doc["pid"] = "PID"
	}
	return doc
}

func TestReadyzIsAsInTheSamples(t *testing.T) {
	newer, older := played("18.4.0"), played("18.1.0")
	newer.health = newHealth([]string{"identity", "heartbeat", "ca-rotation", "identity-output-1"})
	failing := played("18.1.0")
	failing.health = newHealth([]string{"identity", "output"})
	for _, name := range []string{"identity", "heartbeat", "ca-rotation", "identity-output-1"} {
		newer.health.set(name, nil)
	}
	failing.health.set("identity", nil)
	failing.health.set("output", cli.Wrap(errors.New(`access denied to perform action "read"`), "generating identity"))
	for _, c := range []struct {
		sample, path string
		bot          *bot
		code         int
	}{
		{"readyz-200-18.json", "/readyz", newer, 200},
		{"readyz-404.json", "/readyz/nope", newer, 404},
		{"readyz-503-initializing.json", "/readyz", older, 503},
		{"readyz-503-service.json", "/readyz", failing, 503},
	} {
		w := httptest.NewRecorder()
		c.bot.endpoints().ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), http.MethodGet, c.path, nil))
		if got, want := decoded(t, w.Body.String()), decoded(t, sample(t, c.sample)); w.Code != c.code || !reflect.DeepEqual(got, want) {
			t.Errorf("%s: %d %s", c.sample, w.Code, w.Body)
		}
	}
}

// TestStrictnessIsThatOfTheDecoder runs what the sample yaml-strictness.txt says, and compares the stand-in's words with
// the decoder's own.
func TestStrictnessIsThatOfTheDecoder(t *testing.T) {
	const text = "version: v2\ntypo_key: 1\n"
	decode := func(to any) error {
		dec := yaml.NewDecoder(strings.NewReader(text))
		dec.KnownFields(true)
		return dec.Decode(to)
	}
	err := decode(&strict{})
	said, _, _ := strings.Cut(err.Error(), " in type")
	if !strings.Contains(strings.ReplaceAll(sample(t, "yaml-strictness.txt"), `\n`, "\n"), said) {
		t.Errorf("yaml.v3 says %v", err)
	}
	_, ours := played("17.2.7").parseConfig([]byte(text))
	if want := "failed parsing config file: " + strings.ReplaceAll(strings.ReplaceAll(err.Error(), "\n", ""), "tbot.strict", "config.BotConfig"); ours.Error() != want {
		t.Errorf("%v, want %s", ours, want)
	}
	if err := decode(&loose{}); err != nil {
		t.Error(err)
	}
	if _, err := played("17.2.8").parseConfig([]byte(text)); err != nil {
		t.Error(err)
	}
}

type strict struct{ Version string }

type loose struct{ Version string }

func (l *loose) UnmarshalYAML(node *yaml.Node) error {
	type plain loose
	return node.Decode((*plain)(l))
}

func TestOnboardingIsStrictAsLongAsTheTopIs(t *testing.T) {
	const text = "version: v2\nonboarding: {join_method: tpm, tokn: x}\nstorage: {typo: 1, type: memory}\n"
	_, err := played("17.2.7").parseConfig([]byte(text))
	const want = "failed parsing config file: yaml: unmarshal errors:  line 2: field tokn not found in type config.OnboardingConfig"
	if err == nil || err.Error() != want {
		t.Error(err)
	}
	if c, err := played("17.2.8").parseConfig([]byte(text)); err != nil || c.Storage.Type != "memory" {
		t.Error(c, err)
	}
}
