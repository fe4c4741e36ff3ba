package tctl

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"fleetctl/remote"
)

var abab = strings.Repeat("ab", 32)

func TestEveryShapeOfBotInstancesIsRead(t *testing.T) {
	t.Parallel()
	at := time.Date(2026, 2, 3, 10, 0, 1, 400_000_000, time.UTC)
	for _, name := range []string{"bot_instance-17.5.1.json", "bot_instance-17.5.0.json", "bot_instance-16.4-no-join-attrs.UNSURE.json"} {
		var objects bytes.Buffer
		var list []json.RawMessage
		if err := json.Unmarshal(sample(t, name), &list); err != nil {
			t.Fatal(err)
		}
		for _, o := range append(list, list...) {
			objects.Write(append(o, '\n'))
		}
		for shape, out := range map[string]string{"an array": string(sample(t, name)), "objects": objects.String(), "one object": string(list[0])} {
			var args string
			tctl := Tctl{Runner: Func(func(_ context.Context, _ []byte, a []string) ([]byte, []byte, int) {
				args = strings.Join(a, " ")
				return []byte(out), nil, 0
			})}
			joins, err := tctl.Joins(t.Context(), "fleet")
			if err != nil || args != "get bot_instance/fleet --format=json" {
				t.Errorf("%s, %s: %s: %v", name, shape, args, err)
			}
			j := joins[abab]
			if len(joins) != 1 || !j.At.Equal(at) || j.Bot != "fleet" || j.Instance != "0b9d4c1e-8a53-4c55-9c46-2c6f0e1a7d11" ||
				j.Token != "fleet-token" || j.Hostname != "node1" || j.Version != "17.5.4" || j.Method != "tpm" {
				t.Errorf("%s, %s: %+v", name, shape, joins)
			}
		}
	}
}

func TestJoinsTakeTheLatest(t *testing.T) {
	t.Parallel()
	joins, err := ParseJoins([]byte(`[
 {"spec":{"bot_name":"fleet","instance_id":"old"},"status":{"latest_authentications":[
   {"authenticated_at":"2026-11-20T07:00:00Z","join_token":"fleet","join_attrs":{"tpm":{"ek_pub_hash":"aa"}}}]}},
 {"spec":{"bot_name":"fleet","instance_id":"new"},"status":{
   "initial_authentication":{"authenticated_at":"2026-11-21T07:00:00Z","join_attrs":{"tpm":{"ek_pub_hash":"aa"}}},
   "latest_authentications":[{"authenticated_at":"2026-11-23T07:00:00Z","join_token":"fleet-2","join_attrs":{"tpm":{"ek_pub_hash":"AA"}}}],
   "initial_heartbeat":{"recorded_at":"2026-11-21T07:00:00Z","hostname":"web-00"},
   "latest_heartbeats":[{"recorded_at":"2026-11-24T07:00:00Z","hostname":"web-01","version":"18.4.1"},
     {"recorded_at":{"seconds":99999999999999},"hostname":"forged\u001b"}],
   "service_health":[{"service":{"type":"identity","name":"out"},"status":"BOT_INSTANCE_HEALTH_STATUS_UNHEALTHY","reason":"no\tway"},
     {"service":{"name":"x"},"status":2}]}},
 {"spec":{"bot_name":"ci","instance_id":"x"},"status":{"latest_authentications":[{"join_attrs":{"meta":{}}}]}}]`))
	if err != nil {
		t.Fatal(err)
	}
	j := joins["aa"]
	if len(joins) != 1 || j.Instance != "new" || j.Token != "fleet-2" || j.Hostname != "web-01" || j.Version != "18.4.1" || len(j.Services) != 2 {
		t.Fatalf("got %+v", joins)
	}
	if s := j.Services[0]; s != (Service{Name: "out", Type: "identity", Health: "unhealthy", Reason: `no\tway`}) {
		t.Errorf("got %+v", s)
	}
}

func TestOnlyACertainHashIsTakenFromMetadata(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name, method, metadata string
		want                   bool
	}{
		{"plain", "tpm", `{"ek_pub_hash":"` + abab + `"}`, true},
		{"in a structure of protobuf", "tpm", `{"fields":{"ek_pub_hash":{"string_value":"` + abab + `"}}}`, true},
		{"in camel case", "tpm", `{"fields":{"ek_pub_hash":{"stringValue":"` + strings.ToUpper(abab) + `"}}}`, true},
		{"of another join method", "github", `{"ek_pub_hash":"` + abab + `"}`, false},
		{"too short", "tpm", `{"ek_pub_hash":"abab"}`, false},
		{"under another name", "tpm", `{"hash":"` + abab + `"}`, false},
		{"a number", "tpm", `{"ek_pub_hash":7}`, false},
		{"none", "tpm", `null`, false},
		{"a list", "tpm", `[1]`, false},
	} {
		joins, err := ParseJoins(fmt.Appendf(nil, `{"status":{"initial_authentication":{"join_method":%q,"metadata":%s}}}`, tt.method, tt.metadata))
		if _, ok := joins[abab]; err != nil || ok != tt.want || len(joins) > 1 {
			t.Errorf("%s: %v, %v", tt.name, joins, err)
		}
	}
}

func TestWhatIsNoListOfInstancesIsAnError(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		out, stderr, want string
		code              int
	}{
		"nothing is an empty list":        {},
		"an empty array":                  {out: " [ ]\n"},
		"no JSON":                         {out: "hello", want: "tctl get bot_instance: invalid character"},
		"a list of something else":        {out: "[1]", want: "tctl get bot_instance: json: cannot unmarshal"},
		"a list that is cut":              {out: `[{"spec":{}}`, want: "tctl get bot_instance: unexpected EOF"},
		"an instance that is cut":         {out: `[{"spec":{`, want: "tctl get bot_instance: unexpected EOF"},
		"one that is too large":           {out: `[{"spec":{"bot_name":"` + strings.Repeat("x", 2<<20), want: errLargeInstance.Error()},
		"a failure":                       {stderr: red + "one\n\ttwo\n\n", code: 1, want: "tctl get bot_instance --format=json: one: two"},
		"a failure after a list":          {out: "[]", stderr: red + "late\n\n", code: 1, want: "tctl get bot_instance --format=json: late"},
		"a failure in the middle of list": {out: `[{"spec":{}},`, stderr: red + "late\n\n", code: 1, want: "late"},
	} {
		joins, err := saying(tt.out, tt.stderr, tt.code).Joins(t.Context())
		switch {
		case tt.want == "" && (err != nil || joins == nil || len(joins) != 0):
			t.Errorf("%s: %v, %v", name, joins, err)
		case tt.want != "" && (err == nil || !strings.Contains(err.Error(), tt.want)):
			t.Errorf("%s: %.300v", name, err)
		}
	}
}

// many is a cluster with as many instances as one likes, of a hundred TPMs.
type many struct {
	t    *testing.T
	n    int
	held []uint64 // bytes on the heap, now and then
}

// Run prints the instances one by one.
func (m *many) Run(_ context.Context, _ io.Reader, stdout, _ io.Writer, _ ...string) error {
	var all []json.RawMessage
	var one bytes.Buffer
	if err := errors.Join(json.Unmarshal(sample(m.t, "bot_instance-17.5.1.json"), &all), json.Compact(&one, all[0])); err != nil {
		return err
	}
	parts := strings.Split(one.String(), abab)
	for i := range m.n {
		text := strings.Join(parts, fmt.Sprintf("%064x", i%100))
		if _, err := io.WriteString(stdout, map[bool]string{true: "[", false: ","}[i == 0]+text); err != nil {
			return err
		}
		if i%(m.n/10) == m.n/20 {
			var s runtime.MemStats
			runtime.GC()
			runtime.ReadMemStats(&s)
			m.held = append(m.held, s.HeapAlloc)
		}
	}
	_, err := io.WriteString(stdout, "]")
	return err
}

func TestAHundredThousandInstancesAreReadInTheMemoryOfAFew(t *testing.T) { // alone: others would be counted
	cluster := &many{t: t, n: 100_000}
	joins, err := Tctl{Runner: cluster}.Joins(t.Context(), "fleet")
	if err != nil || len(joins) != 100 {
		t.Fatalf("%d joins, %v", len(joins), err)
	}
	for _, held := range cluster.held {
		if held > cluster.held[0]+2<<20 {
			t.Errorf("memory grows: %d", cluster.held)
			break
		}
	}
}

func TestInstancesAreReadFromARealProgramWhichEndsWhenItIsWrong(t *testing.T) {
	t.Parallel()
	tctl := script(t, `printf '[{"spec":'; while :; do printf '"x"'; sleep 0.01; done`)
	if _, err := tctl.Joins(t.Context()); err == nil || !strings.Contains(err.Error(), "tctl get bot_instance: ") {
		t.Errorf("got %v", err)
	}
	tctl = script(t, "cat <<'END'\n"+string(sample(t, "bot_instance-17.5.0.json"))+"\nEND")
	if joins, err := tctl.Joins(t.Context()); err != nil || len(joins) != 1 {
		t.Errorf("%v, %v", joins, err)
	}
}

func FuzzJoins(f *testing.F) {
	f.Add([]byte(`[{"status":{"latest_heartbeats":[{"recorded_at":{"seconds":1,"nanos":2}}]}}]`))
	f.Add([]byte(`{"status":{"initial_authentication":{"join_method":"tpm","metadata":{"fields":{"ek_pub_hash":{"Kind":{"StringValue":"x"}}}}}}}`))
	f.Add([]byte(`[{"spec":{"bot_name":"b"},"status":{"latest_authentications":[{"join_method":"tpm","authenticated_at":"9999-12-31T23:59:59-14:00"}]}}]`))
	f.Fuzz(func(t *testing.T, out []byte) {
		joins, err := ParseJoins(out)
		if err != nil {
			return
		}
		if _, err := json.Marshal(joins); err != nil {
			t.Errorf("what cannot be printed: %v", err)
		}
	})
}

func FuzzStatus(f *testing.F) {
	f.Add("Cluster  teleport.example.com\nVersion  17.5.4\nCA pin   sha256:" + strings.Repeat("a", 64) + "\n")
	f.Add("Cluster: \x1b[31m\u3164\nVersion: 18.0.0-rc.1")
	f.Fuzz(func(t *testing.T, out string) {
		c := parseCluster(out)
		if remote.Escape(c.Name) != c.Name || slices.ContainsFunc(c.Pins, func(p string) bool { return len(p) != len("sha256:")+64 }) {
			t.Errorf("%+v", c)
		}
		for line := range strings.Lines(out) {
			if v, ok := versionLine(line); ok && remote.Escape(v.String()) != v.String() {
				t.Errorf("%q", v)
			}
		}
	})
}
