package host

import (
	"fleetctl/enroll/enrolltest"
	"fleetctl/inventory"
	"strings"
	"testing"
)

func TestOverridesOfTheInventory(t *testing.T) {
	for _, c := range []struct {
		name string
		vars map[string]any
		want string // in the error; "" for none
	}{
		{"a user of its own", map[string]any{"tbot": map[string]any{"user": "deploy", "group": "deploy"}}, ""},
		{"services of its own", map[string]any{"tbot": map[string]any{"services": []any{map[string]any{"type": "identity"}}}}, ""},
		{"an unknown key", map[string]any{"tbot": map[string]any{"usr": "deploy"}}, "usr"},
		{"no mapping", map[string]any{"tbot": "yes"}, "not a mapping"},
		{"a relative path", map[string]any{"tbot": map[string]any{"storage": "bot"}}, "storage"},
		{"a path that a unit can't hold", map[string]any{"tbot": map[string]any{"config": "/etc/my tbot.yaml"}}, "config"},
		{"a user that is none", map[string]any{"tbot": map[string]any{"user": "a b"}}, "account"},
		{"a device that is no path", map[string]any{"tpm_device": 5}, "tpm_device"},
	} {
		t.Run(c.name, func(t *testing.T) {
			err := Check([]inventory.Host{{Name: "web-01", Vars: c.vars}}, enrolltest.Config(), testDesired(t, enrolltest.Config(), inventory.Host{}).templates)
			if (err == nil) != (c.want == "") || err != nil && !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v", err)
			}
		})
	}
}
