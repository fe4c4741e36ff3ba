package inventory

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"

	"fleetctl/inventory/values"
)

// FuzzVariables reads connection variables of every type: whoever writes an inventory decides how a host is reached, and not more.
func FuzzVariables(f *testing.F) {
	for _, seed := range []string{
		`{"ansible_host":"10.0.0.1","ansible_port":22,"ansible_user":"root","ansible_ssh_common_args":"-o 'ProxyCommand=nc %h %p' -J a"}`,
		`{"ansible_port":"22","ansible_become":"yes","ansible_become_method":"sudo","ansible_become_flags":"-H -S"}`,
		`{"ansible_port":1.5,"ansible_host":["a"],"ansible_connection":"local","ansible_password":null,"ansible_become_password":7}`,
		`{"ansible_password":{"__ansible_vault":"$ANSIBLE_VAULT;1.1;AES256"},"ansible_user":"{{ me }}","ansible_port":99999999999999999999}`,
		`{"ansible_host":"$(>pwned)","ansible_user":"-oProxyCommand=x","ansible_ssh_extra_args":"\\"}`,
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		var vars map[string]any
		if json.Unmarshal([]byte(text), &vars) != nil {
			return
		}
		c, err := Host{Name: "web-01", Vars: vars}.Connection()
		if err != nil {
			if err.Error() == "" || errors.Is(err, values.ErrSealed) && !strings.Contains(err.Error(), "ansible_") {
				t.Errorf("%q", err)
			}
			return
		}
		if c.Host == "" || c.Port < 0 || c.Port > 65535 {
			t.Errorf("%+v", c)
		}
	})
}
