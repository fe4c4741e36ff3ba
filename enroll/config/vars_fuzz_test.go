package config

import (
	"encoding/json"
	"errors"
	"testing"

	"fleetctl/enroll/outcome"
	"fleetctl/inventory"
)

// FuzzHostVariables reads our own variables: what they hold ends in scripts, units and tokens.
func FuzzHostVariables(f *testing.F) {
	for _, seed := range []string{
		`{"tpm_device":"/dev/tpmrm0","fleetctl_same_as":"web-02","fleetctl_bot":{"name":"db","roles":["a"]}}`,
		`{"tbot":{"user":"root","config":"/etc/../tbot.yaml","storage":"/a b","services":[{"type":"identity","destination":"/opt/x"}]}}`,
		`{"tbot":{"user":"$(x)","binary":"/a\nb","diag_addr":"1:2:3","hardening":"no","group":"-x"},"tpm_device":7,"fleetctl_bot":[1]}`,
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		var vars map[string]any
		if json.Unmarshal([]byte(text), &vars) != nil {
			return
		}
		v, err := Host(inventory.Host{Name: "web-01", Vars: vars})
		if err == nil && v.Device != "" && v.Device.Check() != nil {
			t.Errorf("a device %q", v.Device)
		}
		tbot, tbotErr := v.Tbot(Default().Tbot)
		if tbotErr == nil {
			for _, p := range []Path{tbot.Config, tbot.Storage} {
				if p.Check() != nil {
					t.Errorf("a path %q", p)
				}
			}
			if !ValidAccount(tbot.User) || !ValidAccount(tbot.Group) || tbot.Binary != "" && tbot.Binary.Check() != nil {
				t.Errorf("%+v", tbot)
			}
		}
		for _, err := range []error{err, tbotErr} {
			if err != nil && !errors.Is(err, outcome.ErrInput) {
				t.Errorf("%v is no error of the input", err)
			}
		}
	})
}
