package tctl

import (
	"errors"
	"strings"
	"testing"

	"fleetctl/enroll/config"
	"fleetctl/enroll/outcome"
)

func TestOnlyAbsentResourcesCountAsNotFound(t *testing.T) {
	t.Parallel()
	for output, want := range map[string]bool{
		"ERROR: provisioning token(****) not found":            true,
		"ERROR: bot \"fleet\" not found":                       true,
		"ERROR: user \"bot-fleet\" not found":                  true,
		"key \"/tokens/x\" is not found":                       true,
		"ERROR: token \"x\" doesn't exist":                     true,
		"ERROR: host teleport.example.com not found":           false,
		"ERROR: profile not found, run tsh login":              false,
		"ERROR: open /etc/teleport.yaml: no such file":         false,
		"ERROR: access denied to get token":                    false,
		"ERROR: your login is gone: no token\nfile not found":  false,
		"ERROR: failed to dial: lookup token.example: no such": false,
	} {
		if got := notFound.MatchString(output); got != want {
			t.Errorf("%q: %v", output, got)
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
}

func TestJoinsTakeTheLatest(t *testing.T) {
	joins, err := ParseJoins([]byte(`[
 {"spec":{"bot_name":"fleet","instance_id":"old"},"status":{"latest_authentications":[
   {"authenticated_at":"2026-11-20T07:00:00Z","join_token":"fleet","join_attrs":{"tpm":{"ek_pub_hash":"aa"}}}]}},
 {"spec":{"bot_name":"fleet","instance_id":"new"},"status":{
   "initial_authentication":{"authenticated_at":"2026-11-21T07:00:00Z","join_attrs":{"tpm":{"ek_pub_hash":"aa"}}},
   "latest_authentications":[{"authenticated_at":"2026-11-23T07:00:00Z","join_token":"fleet-2","join_attrs":{"tpm":{"ek_pub_hash":"AA"}}}],
   "latest_heartbeats":[{"hostname":"web-01"}]}},
 {"spec":{"bot_name":"ci","instance_id":"x"},"status":{"latest_authentications":[{"join_attrs":{"meta":{}}}]}}]`))
	if err != nil {
		t.Fatal(err)
	}
	if j := joins["aa"]; len(joins) != 1 || j.Instance != "new" || j.Token != "fleet-2" || j.Hostname != "web-01" {
		t.Errorf("got %+v", joins)
	}
}
