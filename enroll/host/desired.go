package host

import (
	"fleetctl/enroll/config"
	"fleetctl/enroll/versions"
	"fleetctl/inventory"
	"fleetctl/templates"
)

// Desired is what a host should be like. It is computed from fleet.yaml, the inventory and the host's token alone;
// what depends on the host itself (its tbot's and systemd's version) is settled by Plan.
type Desired struct {
	Tbot    config.Tbot      // overrides of groups and of the host applied
	Adopt   bool             // replace a configuration or a unit that somebody else wrote
	Version versions.Version // of the cluster; the zero Version when it isn't known

	host      inventory.Host
	cluster   config.Cluster
	token     string     // the token the host joins with; "" when it has none
	device    string     // tpm_device of the inventory; "" for the one tbot would take
	install   *Installer // where tbot comes from; nil when it must be there
	templates *templates.Set
}
